"""What every job needs: to stop when asked, to go on from a checkpoint, a device, and parameters that are really its own.

Imports torch where it is used, so that a wrong parameter is said before seconds of import.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from suite import gpu, image, spec, store
from suite.runs import run_id, section_of

LEARNING = ("init", "scale", "brsf_redraw")  # settings of every layer, of any network
STOPPED = 143  # 128 + SIGTERM, as shells say it
COMMON_KEYS = ("id", "dataset", "seed", "settings", "device", "threads", "numerics")
SEARCH_KEYS = (*COMMON_KEYS, "name", "method", "rule_set")
TRIAL_KEYS = (*COMMON_KEYS, "network", "parent", "rules")
PLANNED_ONLY = ("protocols", "overrides", "evaluation")
EVALUATION_KEYS = ("preset", "attacks", "parameters", "images", "numerics")


class StopFlag:
    """Says whether somebody asked the job to end; asking a second time ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: Any) -> None:
        self.asked = True
        signal.signal(number, signal.SIG_DFL)

    def __call__(self) -> bool:
        return self.asked


class Checkpoint:
    """The state of a job between its steps, beside its result, under a name that the workflow does not know."""

    def __init__(self, path: Path, params: dict[str, Any], seconds: float) -> None:
        self.path, self.seconds = path, seconds
        self.owner = json.dumps([params, image.chosen()], sort_keys=True)
        self.saved = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.saved >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        import torch

        with store.replacing(self.path) as partial:
            torch.save({"owner": self.owner, "state": state}, partial)
        self.saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, on the CPU, or nothing if there is none that can be used; says so if one cannot."""
        import torch

        if not self.path.exists():
            return None
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            if saved["owner"] == self.owner:
                return saved["state"]
            reason = "it belongs to other parameters, another device or another image"
        except Exception as error:  # a damaged file makes torch raise almost anything
            reason = f"not readable, {type(error).__name__}"
        print(f"{self.path}: checkpoint not used ({reason}); starting anew", flush=True)
        return None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def ask_to_go_on(id: str) -> None:
    """End a job that was asked to stop."""
    print(f"{id}: stopped on request; run the same command again to go on", flush=True)
    sys.exit(STOPPED)


def set_up(word: str, threads: int, seed: int, stop: StopFlag) -> Any:
    """Fix threads, determinism and the global streams, and return the device, a GPU of this job's own if there is one.

    Raises ValueError if CUDA is asked for and absent.
    """
    if word != "cpu" and not gpu.take(stop):
        ask_to_go_on("waiting for a GPU")
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    keep_memory()
    import torch

    from bionas.seeds import derive

    available = word != "cpu" and torch.cuda.is_available()
    if word == "cuda" and not available:
        raise ValueError("device: 'cuda' asked for, but torch sees no CUDA device here; allowed: auto, cpu")
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms would import the compiler, for 1.5 s
    torch.manual_seed(derive(seed, "global"))
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if available else "cpu")


def keep_memory() -> None:
    """Let glibc keep what is freed: it would give every block above 32 MiB back, and fault it in again at the next operation."""
    import ctypes

    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(parameter, 2**31 - 1)


def device_name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def device_memory() -> dict[str, float]:
    import torch

    return {"peak_device_memory_mib": torch.cuda.max_memory_allocated() / 2**20} if torch.cuda.is_available() else {}


def build(params: dict[str, Any], content: Any, genotype: str | None) -> Any:
    """Make the trial's network with its initial weights."""
    from bionas import catalog
    from bionas.networks import parts
    from bionas.networks.cells import Network
    from bionas.rules import convert
    from bionas.space import Genotype

    settings, classes, channels = params["settings"], len(content.classes), content.image_shape[0]
    common = {"mean": content.mean, "std": content.std, **{name: settings[name] for name in LEARNING if name in settings}}
    if genotype is None:
        biotorch = settings.get("backend") == "biotorch"
        model = catalog.load(catalog.MODELS[params["network"]])("bp" if biotorch else params["rules"], classes, channels, **common)
        if biotorch:
            model, _ = convert(model, params["rules"], "biotorch", seed=params["seed"])
    else:
        single = params["rules"] in catalog.RULES and settings["single_rule_scope"] == "all"
        model = Network(
            Genotype.from_json(genotype),
            channels,
            classes,
            settings["channels"],
            settings["cells"],
            content.image_shape[1],
            auxiliary=settings["aux_weight"] > 0,
            scope="all" if single else settings["scope"],
            outer_rule=params["rules"] if single else settings.get("outer_rule", "bp"),
            released=not settings["skip_rules"],
            **common,
        )
    return parts.initialise(model, params["seed"], settings["init"])


def weights_sha256(model: Any) -> str:
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(name.encode())
        total.update(value.cpu().numpy().tobytes() if hasattr(value, "cpu") else json.dumps(value, sort_keys=True).encode())
    return total.hexdigest()


def save_weights(model: Any, path: Path) -> None:
    import torch

    torch.save({name: value.cpu() if hasattr(value, "cpu") else value for name, value in model.state_dict().items()}, path)


def load_weights(model: Any, path: Path, trained: store.Run) -> None:
    import torch

    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file makes torch raise almost anything
        raise ValueError(f"{path}: not readable weights ({type(error).__name__}); remove the run's folder and run it again") from None
    if weights_sha256(model) != trained.metrics["weights_sha256"]:
        raise ValueError(f"{path}: not the weights that {trained.id} was trained to; remove its folder and run it again")


def read_params(text: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Read a job's parameters. Raises ValueError if they are not JSON or not those of this kind of job."""
    try:
        params = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--params: not JSON ({error})") from None
    if isinstance(params, dict):  # an entry of the plan says more than its job needs
        params = {key: value for key, value in params.items() if key not in PLANNED_ONLY}
    found = sorted(params) if isinstance(params, dict) else type(params).__name__
    if found != sorted(keys):
        raise ValueError(f"--params: found {found}; allowed: a mapping with {', '.join(keys)}")
    return params


def read_run_params(text: str, stage: str) -> dict[str, Any]:
    """Read a search's or trial's parameters. Raises ValueError, too, if their id is not theirs."""
    params = read_params(text, SEARCH_KEYS if stage == "search" else TRIAL_KEYS)
    try:
        id = run_id(stage, {key: value for key, value in params.items() if key != "id"})
    except (AttributeError, TypeError) as error:
        raise ValueError(f"--params: not those of a {stage} ({error})") from None
    unknown = params["settings"].keys() - spec.default_settings(section_of(stage, params)).keys()
    if unknown:
        raise ValueError(f"--params: settings {', '.join(sorted(unknown))} unknown; plan again")
    if params["id"] != id:
        raise ValueError(f"--params: these parameters are run {id}, not {params['id']}; plan again")
    return params


def chosen(kind: type, settings: dict[str, Any]) -> Any:
    """Make a settings dataclass of the settings that are its own. Raises ValueError if one is missing."""
    import dataclasses

    fields = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(kind)}
    missing = [name for name, required in fields.items() if required and name not in settings]
    if missing:
        raise ValueError(f"--params: settings {', '.join(missing)} missing; plan again")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in settings.items() if name in fields})


def refuse_foreign(out: Path, id: str) -> None:
    """Raise ValueError if another run's result lies where this one's would go."""
    try:
        found = store.read(out).id
    except ValueError:
        return
    if found != id:
        raise ValueError(f"{out}: holds run {found}; {id} belongs elsewhere")
