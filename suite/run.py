"""One job: `python -m suite.run {train,evaluate} …`, what the workflow calls inside the container. The only file here with torch.

A job holds its run's lock, goes on from its checkpoint if there is one, and writes its result last and at once. It may be killed at
any moment: started again, it ends with the same bits. Ctrl-C and SIGTERM end it at the next step, with a checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from suite import store
from suite.progress import Bar

STOPPED = 143  # 128 + SIGTERM, as shells say it
TRIAL_KEYS = ("id", "dataset", "model", "rule", "seed", "settings", "device", "threads", "numerics")
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
        self.path, self.params, self.seconds = path, params, seconds
        self.saved = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.saved >= self.seconds

    def save(self, state: dict[str, Any]) -> None:
        import torch

        with store.replacing(self.path) as partial:
            torch.save({"params": json.dumps(self.params, sort_keys=True), "state": state}, partial)
        self.saved = time.monotonic()

    def load(self, device: Any = "cpu") -> dict[str, Any] | None:
        """Return the saved state, or nothing if there is none that can be used; says so if one cannot."""
        import torch

        if not self.path.exists():
            return None
        try:
            saved = torch.load(self.path, map_location=device, weights_only=True)
            if saved["params"] == json.dumps(self.params, sort_keys=True):
                return saved["state"]
            reason = "it belongs to other parameters or another device"
        except Exception as error:  # a damaged file makes torch raise almost anything
            reason = str(error).partition("\n")[0]
        print(f"{self.path}: checkpoint not used ({reason}); starting anew", flush=True)
        return None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def ask_to_go_on(id: str) -> None:
    """End a job that was asked to stop."""
    print(f"{id}: stopped on request; run the same command again to go on", flush=True)
    sys.exit(STOPPED)


# ---------------------------------------------------------------------------------------------- train


def train(args: argparse.Namespace, stop: StopFlag) -> None:
    """Train one trial: DIR/train.h5 and DIR/weights.pt."""
    params = _params(args.params, TRIAL_KEYS)
    out, weights = args.out / "train.h5", args.out / "weights.pt"
    checkpoint = args.out / "train.checkpoint"
    with store.locked(args.out, stop) as got:
        if not got:
            ask_to_go_on(params["id"])
        elif store.finished(out, params) and weights.exists():
            checkpoint.unlink(missing_ok=True)
            print(f"{out}: finished already")
        else:
            _train(params, args, stop, out, weights)


def _train(params: dict[str, Any], args: argparse.Namespace, stop: StopFlag, out: Path, weights: Path) -> None:
    started = time.monotonic()
    device = _set_up(params["device"], params["threads"], params["seed"])
    from bionas import account, data, dataset
    from bionas import train as loop

    content = dataset.read(args.data)
    settings, seed = params["settings"], params["seed"]
    model = _build(params, content).to(device)
    train_settings = _train_settings(settings)
    kept, held_out = data.hold_out(data.Split.of(content.train_images, content.train_labels, device), settings["holdout"], seed)
    augment = content.augment if settings["augment"] else dataset.Augment()
    batches = data.TrainingData(kept, augment, settings["batch_size"], seed)

    state = loop.LoopState.start(model, train_settings)
    epoch_seconds: list[float] = []
    checkpoint = Checkpoint(args.out / "train.checkpoint", {**params, "on": device.type}, args.checkpoint_seconds)
    if saved := checkpoint.load(device):
        state.load_state_dict(saved["loop"])
        epoch_seconds = saved["epoch_seconds"]
        print(f"{params['id']}: going on after epoch {state.epoch}, step {state.step}", flush=True)

    with Bar(params["id"], settings["epochs"] * batches.steps, "steps") as bar:
        tick = time.monotonic()
        for _ in loop.train(state, batches, held_out, train_settings):
            bar.at(state.epoch * batches.steps + state.step)
            if state.step == 0:
                epoch_seconds.append(time.monotonic() - tick)
                tick = time.monotonic()
                bar.line(_epoch_line(state, settings["epochs"], epoch_seconds[-1]))
            if stop():
                checkpoint.save({"loop": state.state_dict(), "epoch_seconds": epoch_seconds})
                ask_to_go_on(params["id"])
            if checkpoint.due():
                checkpoint.save({"loop": state.state_dict(), "epoch_seconds": epoch_seconds})

    tested = state.best["epoch"] if state.best else state.epoch - 1
    metrics: dict[str, Any] = {name: column[tested] for name, column in state.curves.items() if name != "lr"}
    if held_out is None:
        del metrics["val_loss"], metrics["val_accuracy"]
    if state.status == "ok":  # the one time that the test split is looked at
        test = data.Split.of(content.test_images, content.test_labels, device)
        test_loss, accuracy = loop.measure(model, test)
        if math.isfinite(test_loss):
            tested_epoch = f"best validation epoch, {tested + 1}" if state.best else "last epoch"
            metrics |= {"test_loss": test_loss, "test_error": 100 - accuracy, "test_error_of": tested_epoch}
        else:
            state.status = "diverged"
    with store.replacing(weights) as partial:
        _save_weights(model, partial)
    metrics |= {"num_parameters": account.num_parameters(model), "flops": account.flops(model, content.image_shape)}
    for rule, (layers, count) in account.layers_by_rule(model).items():
        metrics |= {f"layers_{rule}": layers, f"weights_{rule}": count}
    metrics |= {"weights_sha256": _weights_sha256(model), "train_images": len(kept), "test_images": len(content.test_labels)}
    metrics["dataset_checksum"] = content.checksum
    run = store.Run(
        stage="train",
        id=params["id"],
        params=params,
        status=state.status,
        metrics=metrics,
        arrays={f"curves/{name}": column for name, column in state.curves.items()},
        timings={**store.usage(started), "epoch_seconds": epoch_seconds, **_device_memory()},
        provenance=store.provenance(_device_name(device), params["threads"], seed),
    )
    store.write(out, run)
    checkpoint.remove()
    error = f"test error {metrics['test_error']:.2f} %" if "test_error" in metrics else state.status
    print(f"{params['id']}: {error}; wrote {out} and {weights}", flush=True)


def _epoch_line(state: Any, epochs: int, seconds: float) -> str:
    last = {name: column[-1] for name, column in state.curves.items()}
    held_out = f"  val {last['val_accuracy']:6.2f} %" if last["val_accuracy"] == last["val_accuracy"] else ""
    return (
        f"epoch {state.epoch:4d}/{epochs}  lr {last['lr']:.5f}  loss {last['train_loss']:8.4f}  "
        f"train {last['train_accuracy']:6.2f} %{held_out}  {seconds:7.2f} s"
    )


# ---------------------------------------------------------------------------------------------- evaluate


def evaluate(args: argparse.Namespace, stop: StopFlag) -> None:
    """Attack one trained trial: its evaluation file."""
    params = _params(args.params, EVALUATION_KEYS)
    trained = store.read(args.trial / "train.h5")
    params = {"trial": trained.id, **params}
    checkpoint = Checkpoint(args.out.with_suffix(".checkpoint"), params, args.checkpoint_seconds)
    with store.locked(args.trial, stop) as got:
        if not got:
            ask_to_go_on(trained.id)
        elif store.finished(args.out, params):
            checkpoint.remove()
            print(f"{args.out}: finished already")
        elif trained.status != "ok":
            status = f"skipped(parent {trained.status})"
            store.write(args.out, store.Run(stage="evaluation", id=trained.id, params=params, status=status))
            print(f"{trained.id}: {status}; wrote {args.out}")
        else:
            _evaluate(trained, params, args, stop, checkpoint)


def _evaluate(trained: store.Run, params: dict[str, Any], args: argparse.Namespace, stop: StopFlag, checkpoint: Checkpoint) -> None:
    started = time.monotonic()
    seed = trained.params["seed"]
    device = _set_up(trained.params["device"], trained.params["threads"], seed)
    import torch

    from bionas import attacks, catalog, data, dataset
    from bionas.seeds import generator

    if params["parameters"] != {attack: getattr(catalog.ATTACKS[attack], params["preset"]) for attack, _ in params["attacks"]}:
        raise ValueError(f"--params: preset {params['preset']!r} has other parameters in this version; plan again")
    content = dataset.read(args.data)
    model = _build(trained.params, content)
    _load_weights(model, args.trial / "weights.pt", trained)
    model.to(device).eval()
    ids = torch.randperm(len(content.test_labels), generator=generator(0, "attacked images"))[: params["images"]].sort().values
    images, labels = next(data.Split.of(content.test_images, content.test_labels, device).at(ids).chunks(len(ids)))

    # {attack/gradient: chunks of outcomes so far}; an attack is done when it has all of its chunks.
    done: dict[str, dict[str, Any]] = checkpoint.load() or {}
    num_chunks = -(-len(ids) // attacks.CHUNK)
    with Bar(f"{trained.id} attacks", len(params["attacks"]) * num_chunks, "chunks of images") as bar:
        for attack, gradient in params["attacks"]:
            key, through = f"{attack}/{gradient}", "rule" if gradient == "none" else gradient
            part = done.setdefault(key, {"clean": [], "robust": [], "seconds": 0.0})
            before = len(part["clean"])
            tick = time.monotonic()
            for outcome in attacks.chunks(model, images, labels, attack, through, params["preset"], seed=seed, start=before):
                part["clean"].append(outcome.clean_correct)
                part["robust"].append(outcome.robust_correct)
                part["seconds"] += time.monotonic() - tick
                tick = time.monotonic()
                bar.at(sum(len(p["clean"]) for p in done.values()))
                if stop() or checkpoint.due():
                    checkpoint.save(done)
                if stop():
                    ask_to_go_on(trained.id)
            robust = _percent(torch.cat(part["robust"]))
            note = f"{part['seconds']:7.2f} s" if before < num_chunks else "done before"
            bar.line(f"attack {attack:10s} through {gradient:5s}  robust {robust:6.2f} %  {note}")

    done = {key: {**part, "clean": torch.cat(part["clean"]), "robust": torch.cat(part["robust"])} for key, part in done.items()}
    clean = next(iter(done.values()))["clean"]
    worst = torch.stack([result["robust"] for result in done.values()]).all(0)
    metrics = {"clean_accuracy": _percent(clean), "worst_case_accuracy": _percent(worst), "images": len(ids)}
    metrics |= {f"robust_accuracy_{key.replace('/', '_')}": _percent(result["robust"]) for key, result in done.items()}
    arrays = {f"attacks/{key}/robust_correct": result["robust"].numpy() for key, result in done.items()}
    arrays |= {"attacks/clean_correct": clean.numpy(), "attacks/image_ids": ids.numpy()}
    run = store.Run(
        stage="evaluation",
        id=trained.id,
        params=params,
        metrics=metrics,
        arrays=arrays,
        timings={
            **store.usage(started),
            **{f"seconds_{k.replace('/', '_')}": r["seconds"] for k, r in done.items()},
            **_device_memory(),
        },
        provenance=store.provenance(_device_name(device), trained.params["threads"], seed),
    )
    store.write(args.out, run)
    checkpoint.remove()
    print(f"{trained.id}: worst case {metrics['worst_case_accuracy']:.2f} % of {len(ids)} images; wrote {args.out}", flush=True)


def _percent(correct: Any) -> float:
    return 100 * int(correct.sum()) / len(correct)


# ---------------------------------------------------------------------------------------------- what both need


def _set_up(word: str, threads: int, seed: int) -> Any:
    """Fix threads, determinism and the global streams, and return the device. Raises ValueError if CUDA is asked for and absent."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    from bionas.seeds import derive

    available = word != "cpu" and torch.cuda.is_available()
    if word == "cuda" and not available:
        raise ValueError("device: 'cuda' asked for, but torch sees no CUDA device here; allowed: auto, cpu")
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(derive(seed, "global"))
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if available else "cpu")


def _build(params: dict[str, Any], content: Any) -> Any:
    from bionas import catalog, parts

    settings = params["settings"]
    make = catalog.load(catalog.MODELS[catalog.choose("model", params["model"], catalog.MODELS)])
    options = {name: settings[name] for name in ("init", "scale", "brsf_redraw") if name in settings}
    model = make(params["rule"], len(content.classes), content.image_shape[0], mean=content.mean, std=content.std, **options)
    return parts.initialise(model, params["seed"], settings["init"])


def _train_settings(settings: dict[str, Any]) -> Any:
    """Return the loop's settings. Raises ValueError if one is missing, or one is there that nothing would heed."""
    from bionas.train import TrainSettings

    loop = set(TrainSettings.__dataclass_fields__)
    unknown = settings.keys() - loop - {"augment", "holdout", "init", "scale", "brsf_redraw"}
    missing = loop - settings.keys() - {"milestones"}
    if unknown or missing:
        raise ValueError(f"--params: settings {sorted(unknown)} unknown, {sorted(missing)} missing; plan again")
    shaping = {name: settings[name] for name in loop if name in settings}
    return TrainSettings(**{**shaping, "milestones": tuple(settings.get("milestones", ()))})


def _weights_sha256(model: Any) -> str:
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(name.encode())
        total.update(value.cpu().numpy().tobytes() if hasattr(value, "cpu") else json.dumps(value, sort_keys=True).encode())
    return total.hexdigest()


def _save_weights(model: Any, path: Path) -> None:
    import torch

    torch.save({name: value.cpu() if hasattr(value, "cpu") else value for name, value in model.state_dict().items()}, path)


def _load_weights(model: Any, path: Path, trained: store.Run) -> None:
    import torch

    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file makes torch raise almost anything
        raise ValueError(f"{path}: not readable weights ({str(error).partition(chr(10))[0]})") from None
    if _weights_sha256(model) != trained.metrics["weights_sha256"]:
        raise ValueError(f"{path}: not the weights that {trained.id} was trained to; remove its folder and run it again")


def _device_name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _device_memory() -> dict[str, float]:
    import torch

    return {"peak_device_memory_mib": torch.cuda.max_memory_allocated() / 2**20} if torch.cuda.is_available() else {}


def _params(text: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """Read a job's parameters. Raises ValueError if they are not JSON or not those of this kind of job."""
    try:
        params = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--params: not JSON ({error})") from None
    found = sorted(params) if isinstance(params, dict) else type(params).__name__
    if found != sorted(keys):
        raise ValueError(f"--params: found {found}; allowed: a mapping with {', '.join(keys)}")
    return params


# ---------------------------------------------------------------------------------------------- command line


def main(argv: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m suite.run", description="Run one job of a benchmark; the workflow prints the command.")
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--params", required=True, help="the job's parameters, as JSON; `python -m suite.plan FILE --json` lists them")
    common.add_argument("--data", type=Path, required=True, help="the data set's file")
    common.add_argument("--checkpoint-seconds", type=float, default=30, help="at most this much work is lost (default: 30)")
    command = commands.add_parser("train", parents=[common], help="train one trial", description=train.__doc__)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="the run's folder")
    command.set_defaults(job=train)
    command = commands.add_parser("evaluate", parents=[common], help="attack one trained trial", description=evaluate.__doc__)
    command.add_argument("--trial", type=Path, required=True, metavar="DIR", help="the trained run's folder")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write")
    command.set_defaults(job=evaluate)
    args = parser.parse_args(argv)
    args.job(args, StopFlag())


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"suite.run: {error}")
