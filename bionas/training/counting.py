"""What a step costs on a device that is not there: kernels, bytes, multiply-adds, host syncs, memory.

On the device `meta` tensors have a shape and no data, and no path of the CPU is taken. Every operation of forward, backward and update is
seen there. What is neither a view nor a mere allocation is a kernel. It moves the bytes of its distinct inputs and outputs, an expanded
dimension once, so a library kernel that reads its input twice is flattered; and it computes what its shapes say.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
VIEWS = {"_unsafe_view", "lift_fresh", "_reshape_alias"}  # whose schema does not say so
ANSWERED_BY_THE_HOST = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "unique_dim", "_unique2"}
FACTORIES = {torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy}
BANDWIDTH, THROUGHPUT = 1.5e12, 19.5e12  # an A100's: bytes and float32 operations a second


class Kernel(NamedTuple):
    """One launch: the operation, bytes read and written, and floating-point operations (a multiply-add is two)."""

    name: str
    bytes: int
    flop: int


@dataclass
class Count:
    """What was counted. `saved` is what autograd keeps between forward and backward, `peak` the most memory at once, in bytes."""

    kernels: list[Kernel] = field(default_factory=list)
    syncs: Counter[str] = field(default_factory=Counter)
    saved: int = 0
    peak: int = 0

    @property
    def bytes(self) -> int:
        return sum(kernel.bytes for kernel in self.kernels)

    @property
    def seconds(self) -> float:
        """The roofline of an A100: every kernel takes what its bytes or its operations take, whichever is more."""
        return sum(max(kernel.bytes / BANDWIDTH, kernel.flop / THROUGHPUT) for kernel in self.kernels)

    def by_operation(self) -> list[tuple[str, int, int, int]]:
        """Return (operation, kernels, bytes, flop), most bytes first."""
        rows: dict[str, list[int]] = {}
        for kernel in self.kernels:
            row = rows.setdefault(kernel.name, [0, 0, 0])
            row[0], row[1], row[2] = row[0] + 1, row[1] + kernel.bytes, row[2] + kernel.flop
        return sorted(((name, *row) for name, row in rows.items()), key=lambda row: -row[2])  # type: ignore[misc]


def count(run: Callable[[], object], present: Iterable[Tensor] = ()) -> Count:
    """Run once on `meta` and count. `present` are the tensors that are there before and after, parameters above all."""
    counted = Count()
    memory = _Memory()
    for tensor in present:
        memory.see(tensor)
    there = set(memory.sizes)
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in there and tensor.device.type == "meta":
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with _Functions(counted), _Operations(counted, memory), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    counted.saved, counted.peak = sum(saved.values()), memory.peak
    return counted


class _Functions(TorchFunctionMode):
    """Data that the host makes for the device, which arrives there without an operation."""

    def __init__(self, counted: Count) -> None:
        self.counted = counted

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FACTORIES and str(kwargs.get("device")) == "meta":
            self.counted.syncs[f"{func.__name__} from the host"] += 1
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    def __init__(self, counted: Count, memory: _Memory) -> None:
        super().__init__()
        self.counted, self.memory = counted, memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name in ("_to_copy", "copy_"):
            target = torch.device(kwargs.get("device") or inputs[0].device)
            if {target.type, inputs[-1].device.type} == {"cpu", "meta"}:
                self.counted.syncs["copy between host and device"] += 1
                return inputs[0] if name == "copy_" else torch.zeros_like(inputs[0], device=target, dtype=kwargs.get("dtype"))
        if name == "index" and any(t.dtype == torch.bool and t.device.type == "meta" for t in inputs[1:]):
            self.counted.syncs["a mask's size"] += 1
            return inputs[0].new_empty(0)
        if name in ANSWERED_BY_THE_HOST and inputs[0].device.type == "meta":
            self.counted.syncs[name] += 1
            return _answer(name, inputs[0])
        if name == "repeat_interleave" and kwargs.get("output_size") is None:
            self.counted.syncs[name] += 1
            return args[0].new_empty(0, dtype=torch.int64)
        out = func(*args, **kwargs)
        if name in ("convolution", "convolution_backward"):
            out = _laid_out(name, args, out)
        outputs = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for tensor in outputs:
            self.memory.see(tensor)
        if name in ALLOCATIONS or name in VIEWS or _is_view(func):
            return out
        if name == "convolution_backward":  # x is read for the weight's gradient alone, the weight for x's
            inputs = [args[0], *(args[1:2] if args[10][1] else ()), *(args[2:3] if args[10][0] else ())]
        distinct = {(t.untyped_storage()._cdata, t.storage_offset(), t.shape, t.stride()): t for t in (*inputs, *outputs)}
        moved = [tensor for tensor in distinct.values() if tensor.device.type == "meta"]
        if moved:
            self.counted.kernels.append(Kernel(name, sum(map(_bytes, moved)), _flop(name, args, kwargs, outputs)))
        return out


class _Memory:
    """Storages that are alive on the device, and the most that ever were."""

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def see(self, tensor: Tensor) -> None:
        if tensor.device.type != "meta":
            return
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.sizes:
            return
        self.sizes[key] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self.sizes.pop(key, 0)


def _is_view(func: Any) -> bool:
    returns = func._schema.returns
    return bool(returns) and all(r.alias_info is not None and not r.alias_info.is_write for r in returns)


def _laid_out(name: str, args: Any, out: Any) -> Any:
    """Return the outputs of a conv as a GPU's library lays them out, channels last if the input is; `meta` does not."""
    if name == "convolution":
        return out.to(memory_format=torch.channels_last) if args[0].is_contiguous(memory_format=torch.channels_last) else out
    return out if out[0] is None else (torch.empty_like(args[1]), *out[1:])


def _answer(name: str, tensor: Tensor) -> Any:
    """Return something of the right kind, since there are no data to answer from."""
    if name == "_local_scalar_dense":
        return 1.0 if tensor.dtype.is_floating_point else 1
    if name in ("is_nonzero", "equal"):
        return True
    if name == "nonzero":
        return tensor.new_empty(0, tensor.dim(), dtype=torch.int64)
    return tensor.new_empty(0)


def _bytes(tensor: Tensor) -> int:
    return tensor.element_size() * math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)


def _flop(name: str, args: Any, kwargs: Any, outputs: list[Tensor]) -> int:
    """Return the floating-point operations of products and convs; what else there is, its bytes outweigh."""
    if name in ("mm", "bmm"):
        return 2 * outputs[0].numel() * args[0].shape[-1]
    if name in ("addmm", "baddbmm", "addmm_", "baddbmm_"):
        return 2 * outputs[0].numel() * args[1].shape[-1]
    if name in ("convolution", "_convolution"):
        weight = args[1]
        return 2 * outputs[0].numel() * weight[0].numel()
    if name == "convolution_backward":
        grad, _, weight = args[:3]
        return 2 * grad.numel() * weight[0].numel() * sum(args[10][:2])
    return 0
