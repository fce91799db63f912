"""The search network: every edge mixes all of its candidates (paper §2.2, equation 7).

Normal and reduction cells, the latter at a third and two thirds of the depth, with one set of mixing parameters α a kind. Two forms of
the same mathematics: `fused`, for mixtures (fused.py), and plain, one module a candidate, as readable as it gets, which also
takes single paths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bionas import kernels
from bionas.networks.ops import FactorizedReduce, ReLUConvBN, build
from bionas.networks.parts import DEFAULTS, Normalize, Options
from bionas.rules import RuleLinear, feedback_owners, seed_feedback
from bionas.seeds import generator
from bionas.space import SearchSpace, edge_stride, edges, reductions
from bionas.supernet.bank import Bank
from bionas.supernet.fused import Fan, Mixture, columns, others
from bionas.supernet.gather import Gather, Layers, Pairs

Weights = Mapping[str, Tensor]  # {cell kind: (edges, candidates)}, rows that sum to one
Paths = Mapping[str, Sequence[int | None]]  # {cell kind: one candidate an edge, or none of them}


class MixedOp(nn.ModuleList):
    """All candidates of one edge; those that its stride does not allow are left out."""

    def __init__(self, space: SearchSpace, channels: int, stride: int, **learning: Any) -> None:
        super().__init__()
        self.ids = [i for i, allowed in enumerate(space.allowed(stride)) if allowed]
        for i in self.ids:
            self.append(_made(space, i, channels, stride, **learning))

    def forward(self, x: Tensor, choice: Tensor | int) -> Tensor:
        """Mix by a row of weights, or take one candidate alone."""
        if isinstance(choice, int):
            return self[self.ids.index(choice)](x)
        return sum(choice[i] * op(x) for i, op in zip(self.ids, self, strict=True))


class Others(nn.ModuleDict):
    """Of one edge, what is not computed together with anything, each under the name that it has in a `MixedOp`."""

    def __init__(self, space: SearchSpace, channels: int, stride: int, **learning: Any) -> None:
        super().__init__()
        ids = [i for i, allowed in enumerate(space.allowed(stride)) if allowed]
        self.update({str(ids.index(i)): _made(space, i, channels, stride, **learning) for i in others(space)})

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix them, by a weight each."""
        return sum(weight * op(x) for weight, op in zip(weights, self.values(), strict=True))


def _made(space: SearchSpace, i: int, channels: int, stride: int, **learning: Any) -> nn.Module:
    """Return candidate i as supernets have it, pools with a BatchNorm."""
    op = build(space.candidates[i], channels, stride, affine=False, released=space.protocol == "released", **learning)
    pool = isinstance(op, nn.MaxPool2d | nn.AvgPool2d)
    return nn.Sequential(op, nn.BatchNorm2d(channels, affine=False)) if pool else op


class Cell(nn.Module):
    """Two preprocessed inputs, `nodes` nodes; the output concatenates the nodes."""

    def __init__(
        self,
        space: SearchSpace,
        nodes: int,
        before: int,
        last: int,
        channels: int,
        reduction: bool,
        reduced: bool,
        name: str,
        fused: bool,
        **learning: Any,
    ) -> None:
        super().__init__()
        self.kind, self.nodes, self.fused = "reduce" if reduction else "normal", nodes, fused
        outer = {"affine": False, "rule": "bp", **learning}
        self.preprocess0 = (FactorizedReduce if reduced else ReLUConvBN)(before, channels, **outer)
        self.preprocess1 = ReLUConvBN(last, channels, **outer)
        if not fused:
            self.edges = nn.ModuleList(MixedOp(space, channels, edge_stride(reduction, source), **learning) for source, _ in edges(nodes))
            return
        self.leaving = [[i for i, (source, _) in enumerate(edges(nodes)) if source == state] for state in range(nodes + 1)]
        self.fans = nn.ModuleList(
            Fan(space, channels, edge_stride(reduction, state), name, edges_, **learning) for state, edges_ in enumerate(self.leaving)
        )
        if others(space):
            self.edges = nn.ModuleList(Others(space, channels, edge_stride(reduction, source), **learning) for source, _ in edges(nodes))

    def forward(self, s0: Tensor, s1: Tensor, choices: Any, layers: Sequence[Layers | Pairs] | None = None) -> Tensor:
        """`choices` are a row of weights or a candidate an edge; fused, a `Mixture`. `layers` are W and B of every fan, if made already."""
        states = [self.preprocess0(s0), self.preprocess1(s1)]
        return self._fused(states, choices, layers) if self.fused else self._plain(states, choices)

    def _fused(self, inputs: list[Tensor], mixture: Mixture, layers: Sequence[Layers | Pairs] | None) -> Tensor:
        """A fan hands its parts on to the nodes that come after its state."""
        layout = kernels.form(inputs[0])
        states = [layout.enter(x) for x in inputs]
        nodes: list[Any] = [None] * self.nodes
        fans: list[Any] = list(self.fans)
        sep, dil = (layout.spread(weights, fans[0].channels) for weights in (mixture.sep, mixture.dil))
        mixtures = mixture._replace(sep=sep, dil=dil).split([len(edges_) for edges_ in self.leaving])
        for i, (fan, own) in enumerate(zip(fans, mixtures, strict=True)):
            if i >= 2:
                states.append(nodes[i - 2])
            parts = fan(states[i], layers[i] if layers else fan.layers(fan.convs()), own)
            if own.others.shape[1]:
                x = inputs[i] if i < 2 else layout.leave([states[i]])
                rest = [self.edges[edge](x, weights) for edge, weights in zip(self.leaving[i], own.others, strict=True)]
                parts = [part + layout.enter(more) for part, more in zip(parts, rest, strict=True)]
            for node, part in zip(range(self.nodes - len(parts), self.nodes), parts, strict=True):
                nodes[node] = part if nodes[node] is None else nodes[node] + part
        return layout.leave(nodes)

    def _plain(self, states: list[Tensor], choices: Tensor | Sequence[int | None]) -> Tensor:
        edge = 0
        for _ in range(self.nodes):
            taken = [(self.edges[edge + i], state, choices[edge + i]) for i, state in enumerate(states)]
            edge += len(states)
            states.append(sum(mixed(state, choice) for mixed, state, choice in taken if choice is not None))
        return torch.cat(states[2:], dim=1)


class Supernet(nn.Module):
    """Input (N, in_channels, H, W) in [0, 1], H and W multiples of 4; output logits (N, num_classes).

    `fused=False` is the plain form: equal outputs and gradients but for rounding, many times slower, and able to take a path.
    `recompute` keeps what enters a cell alone, and computes the cell again in the backward pass: the same numbers, in less memory.
    """

    order: Tensor

    def __init__(
        self,
        space: SearchSpace,
        in_channels: int,
        num_classes: int,
        channels: int,
        cells: int,
        nodes: int,
        fused: bool = True,
        options: Options = DEFAULTS,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        learning = options.learning
        self.space, self.nodes, self.fused, self.recompute = space, nodes, fused, recompute
        self.normalize = Normalize(options.mean, options.std)
        self.stem = nn.Sequential(nn.Conv2d(in_channels, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
        self.cells = nn.ModuleList()
        before = last = 3 * channels
        reduced = False
        for i in range(cells):
            reduction = i in reductions(cells)
            channels *= 2 if reduction else 1
            self.cells.append(Cell(space, nodes, before, last, channels, reduction, reduced, f"cells.{i}", fused, **learning))
            before, last, reduced = last, nodes * channels, reduction
        self.classifier = RuleLinear(last, num_classes, rule="bp")
        self._gather: Gather | None = None
        self.alphas = nn.ParameterDict({kind: torch.zeros(len(edges(nodes)), len(space)) for kind in ("normal", "reduce")})
        for kind in ("normal", "reduce"):
            allowed = [space.allowed(edge_stride(kind == "reduce", source)) for source, _ in edges(nodes)]
            self.register_buffer(f"barred_{kind}", ~torch.tensor(allowed), persistent=False)
        leaving = torch.tensor(sorted(range(len(edges(nodes))), key=lambda i: edges(nodes)[i][0]))  # edges by the state that they leave
        self.register_buffer("order", leaving.unsqueeze(1) * len(space) + torch.tensor(columns(space)), persistent=False)
        seed_feedback(self, 0)

    def weights(self) -> list[nn.Parameter]:
        """The network's weights, without α."""
        return [p for name, p in self.named_parameters() if not name.startswith("alphas.")]

    def plain_state(self) -> dict[str, Tensor]:
        """Return weights and running statistics by the names that they have where `fused=False`, as views."""
        state: dict[str, Any] = {name: value for name, value in self.state_dict(keep_vars=True).items() if isinstance(value, nn.Parameter)}
        for name, module in self.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                state |= {f"{name}.running_mean": module.running_mean, f"{name}.running_var": module.running_var}
        if not self.fused:
            return state
        state = {name: value for name, value in state.items() if ".fans." not in name}
        for module in self.modules():
            if isinstance(module, Fan):
                for name, mean, variance in module.statistics():
                    state |= {f"{name}.running_mean": mean, f"{name}.running_var": variance}
            elif isinstance(module, Bank):
                state |= {f"{name}.weight": weight for name, weight in module.banked()}
        return state

    def mixture(self, alphas: Weights | None = None) -> dict[str, Tensor]:
        """Return softmax over the allowed candidates of every edge; of other α if given."""
        rows: Any = self.alphas if alphas is None else alphas
        return {kind: rows[kind].masked_fill(getattr(self, f"barred_{kind}"), -torch.inf).softmax(-1) for kind in ("normal", "reduce")}

    def forward(self, x: Tensor, choices: Weights | Paths | None = None) -> Tensor:
        """Mix by softmax(α), by other weights, or take one path. Raises ValueError for a path through the fused form."""
        choices = self.mixture() if choices is None else choices
        if self.fused and not isinstance(choices["normal"], Tensor):
            raise ValueError("choices: the fused supernet mixes; a path needs fused=False")
        s0 = s1 = self.stem(self.normalize(x))
        own: Mapping[str, Any] = {kind: self._mixture(rows) for kind, rows in choices.items()} if self.fused else choices
        cells: Any = self.cells
        for cell, layers in zip(cells, self._layers(x), strict=True):
            s0, s1 = s1, self._passed(cell, s0, s1, own[cell.kind], layers)
        return self.classifier(s1.mean((2, 3)))

    def _mixture(self, rows: Any) -> Mixture:
        """Order rows of weights as fans want them."""
        ordered = rows.flatten().index_select(0, self.order.flatten()).view(self.order.shape)
        identities = sum(self.space.candidates[i].operation == "skip_connect" for i, ok in enumerate(self.space.allowed(1)) if ok)
        return Mixture.of(ordered, 2 * len(self.space.rules), identities, len(others(self.space)))

    def _layers(self, x: Tensor) -> Sequence[Sequence[Pairs] | None]:
        """Return W and B of every cell's fans, by one gather; or nothing where each fan makes its own."""
        if not self.fused or not kernels.form(x).GATHERED:
            return [None] * len(self.cells)
        cells: list[list[Any]] = [list(cell.fans) for cell in self.cells]  # type: ignore[arg-type]
        fans = [fan for cell in cells for fan in cell]
        if self._gather is None or self._gather.device != x.device:
            self._gather = Gather([fan.convs for fan in fans], lambda i, stacks: fans[i].layers(stacks))
        laid_out = iter(self._gather())
        return [[next(laid_out) for _ in cell] for cell in cells]

    def _passed(self, cell: nn.Module, *inputs: Any) -> Any:
        if not (self.recompute and torch.is_grad_enabled()):
            return cell(*inputs)
        contexts = (nullcontext(), repeating(cell))  # of the first time, and of the second
        return checkpoint(cell, *inputs, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: contexts)


@contextmanager
def steady(model: nn.Module) -> Iterator[None]:
    """Leave running statistics alone: what is normalised by the batch at hand does not count."""
    before = [(m, m.momentum, m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    try:
        for norm, _, _ in before:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted


@contextmanager
def repeating(cell: nn.Module) -> Iterator[None]:
    """Compute again what was computed once: statistics stay as they are, and so does R where every forward pass draws it anew."""
    drawing = [owner for _, owner in feedback_owners(cell) if owner.redraw == "forward"]
    with steady(cell):
        try:
            for owner in drawing:
                owner.redraw = "update"
            yield
        finally:
            for owner in drawing:
                owner.redraw = "forward"


@torch.no_grad()
def initialise_alphas(supernet: Supernet, seed: int) -> Supernet:
    """Draw α from N(0, 10⁻³), as DARTS, from a stream of its own."""
    stream = generator(seed, "alphas")
    for kind in ("normal", "reduce"):
        supernet.alphas[kind].normal_(0, 1e-3, generator=stream)
    return supernet
