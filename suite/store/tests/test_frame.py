"""Results as tables: a row a run that says what it is, and a row an attacked image."""

import json
import math

import h5py
import numpy as np
import pytest

from suite.store import Run, frame, write, write_group

SEARCH = {"id": "d/darts-bio/seed0-1", "dataset": "d", "name": "darts-bio", "method": "darts", "rule_set": ["fa", "usf"], "seed": 0}
SEARCH |= {"settings": {"epochs": 2}, "device": "cpu", "threads": 1, "numerics": 7}
TRIAL = {"id": "d/net/fa/seed5-of3-2", "dataset": "d", "network": "net", "parent": None, "rules": "fa", "seed": 5, "of_seed": 3}
TRIAL |= {
    "settings": {"epochs": 9, "lr": 0.1, "milestones": [0.5, 0.75], "selection": "last"},
    "device": "cpu",
    "threads": 1,
    "numerics": 7,
}
TUNING = {**{key: value for key, value in TRIAL.items() if key != "of_seed"}, "id": "d/net/fa/seed3-3", "seed": 3}
TUNING |= {"settings": {**TRIAL["settings"], "selection": "none"}}
EVALUATION = {"trial": TRIAL["id"], "images": 3, "numerics": 7}
EVALUATION |= {
    "attacks": {
        "fgsm": {"attack": "fgsm", "parameters": {}, "gradients": ["from-bp", "rule"]},
        "cw@standard": {"attack": "cw", "parameters": {}, "gradients": ["true"]},
    }
}
RUNS = {
    f"search/{SEARCH['id']}": Run(
        "search", SEARCH["id"], SEARCH, metrics={"val_accuracy": 80.0, "genotype": "{}"}, timings={"seconds": 4.0}
    ),
    f"trial/{TUNING['id']}/train": Run("train", TUNING["id"], TUNING, metrics={"val_accuracy": 70.0}),
    f"trial/{TRIAL['id']}/train": Run(
        "train", TRIAL["id"], TRIAL, metrics={"test_error": 12.5, "train_images": 90}, timings={"seconds": 7.0}
    ),
    f"trial/{TRIAL['id']}/evaluation": Run(
        "evaluation",
        TRIAL["id"],
        EVALUATION,
        metrics={"clean_accuracy": 200 / 3},
        arrays={
            "attacks/image_ids": np.array([4, 8, 9]),
            "attacks/clean_correct": np.array([True, True, False]),
            "attacks/fgsm/rule/robust_correct": np.array([True, False, False]),
            "attacks/cw@standard/true/robust_correct": np.array([False, True, False]),
            "attacks/cw@standard/true/distance": np.array([0.25, math.inf, 0], np.float32),
        },
    ),
}


@pytest.fixture
def metrics(tmp_path):
    plan = {"searches": [{**SEARCH, "protocols": ["repaired"]}], "tuning": [{**TUNING, "protocols": ["repaired"]}]}
    plan |= {"trials": [{**TRIAL, "protocols": ["repaired", "paper"], "evaluation": None}]}
    with h5py.File(tmp_path / "metrics.h5", "w") as file:
        file["plan"] = json.dumps(plan)
        for path, run in RUNS.items():
            write_group(file.create_group(path), run)
    return tmp_path / "metrics.h5"


def row(table, stage, kind="trial"):
    (found,) = table[(table.stage == stage) & (table.kind == kind)].to_dict("records")
    return found


def test_a_row_a_run_that_says_what_it_is(metrics):
    table = frame.read(metrics)
    assert sorted(zip(table.kind, table.stage, table.run, strict=True)) == [
        ("search", "search", f"search/{SEARCH['id']}"),
        ("trial", "evaluation", f"trial/{TRIAL['id']}"),
        ("trial", "train", f"trial/{TRIAL['id']}"),
        ("tuning", "train", f"trial/{TUNING['id']}"),
    ]
    search, trial = row(table, "search", "search"), row(table, "train")
    assert [search[name] for name in ("dataset", "network", "rules", "seed", "of_seed", "protocol")] == [
        "d",
        "darts-bio",
        "fa usf",
        0,
        0,
        "repaired",
    ]
    assert [trial[name] for name in ("dataset", "network", "rules", "seed", "of_seed", "protocol")] == [
        "d",
        "net",
        "fa",
        5,
        3,
        "repaired, paper",
    ]


def test_settings_metrics_and_times_are_columns(metrics):
    table = frame.read(metrics)
    trial = row(table, "train")
    assert (trial["settings.epochs"], trial["settings.lr"], trial["settings.milestones"]) == (9, 0.1, "0.5 0.75")
    assert (trial["test_error"], trial["train_images"], trial["timings.seconds"], trial["status"]) == (12.5, 90, 7.0, "ok")
    assert math.isnan(row(table, "search", "search")["test_error"])


def test_an_evaluation_says_what_its_trial_is(metrics):
    table = frame.read(metrics)
    train, evaluation = row(table, "train"), row(table, "evaluation")
    own = ["run", "dataset", "network", "rules", "seed", "of_seed", "protocol", "device", "settings.lr", "settings.milestones"]
    assert [evaluation[name] for name in own] == [train[name] for name in own]
    assert evaluation["clean_accuracy"] == pytest.approx(66.67, abs=0.01)


def test_a_row_an_image_under_each_attack_by_each_gradient(metrics):
    table = frame.read_images(metrics)
    assert set(zip(table.network, table.rules, table.seed, table.of_seed, strict=True)) == {("net", "fa", 5, 3)}
    found = table.set_index(["attack", "gradient", "image"])[["clean_correct", "robust_correct", "distance"]].T.to_dict("list")
    assert found.pop(("fgsm", "rule", 4)) == pytest.approx([True, True, math.nan], nan_ok=True)
    assert [found.pop(("fgsm", "rule", image))[:2] for image in (8, 9)] == [[True, False], [False, False]]
    assert found == {
        ("cw@standard", "true", 4): [True, False, 0.25],
        ("cw@standard", "true", 8): [True, True, math.inf],
        ("cw@standard", "true", 9): [False, False, 0.0],
    }


def test_files_of_runs_say_the_same_but_for_their_protocol(metrics, tmp_path):
    files = [tmp_path / "search.h5", tmp_path / "a/train.h5", tmp_path / "b/train.h5", tmp_path / "b/evaluation-0123abcd.h5"]
    for file, run in zip(files, RUNS.values(), strict=True):
        write(file, run)
    order = ["stage", "run"]
    apart, together = (table.sort_values(order, ignore_index=True) for table in (frame.read(*files), frame.read(metrics)))
    assert apart.protocol.isna().all()
    same = [name for name in together if name not in ("protocol", "file")]
    assert apart[same].equals(together[same])
    images = frame.read_images(files[-1]).drop(columns="protocol")
    assert images.equals(frame.read_images(metrics).drop(columns="protocol"))


def test_an_evaluation_alone_says_its_run_and_no_more(tmp_path):
    write(tmp_path / "evaluation-0.h5", list(RUNS.values())[-1])
    (found,) = frame.read(tmp_path / "evaluation-0.h5").to_dict("records")
    assert (found["run"], found["stage"], found["dataset"]) == (f"trial/{TRIAL['id']}", "evaluation", None)


def test_several_files_are_one_table(metrics):
    assert len(frame.read(metrics, metrics)) == 2 * len(RUNS)
    images = frame.read_images(metrics, metrics)
    assert len(images) == 12 and images.index.tolist() == list(range(12))


def test_a_run_that_the_plan_does_not_name_says_what_it_knows_itself(metrics):
    with h5py.File(metrics, "a") as file:
        plan = json.loads(file["plan"].asstr()[()])
        del file["plan"]
        file["plan"] = json.dumps({**plan, "searches": [], "trials": [], "tuning": []})
    table = frame.read(metrics)
    assert [row(table, "search", "search")[name] for name in ("network", "rules", "seed")] == ["darts-bio", "fa usf", 0]
    assert [row(table, "train")[name] for name in ("network", "rules", "of_seed", "protocol")] == ["net", "fa", 3, None]
    assert table[table.stage == "evaluation"].dataset.isna().all()


def test_nothing_attacked_is_an_empty_table(tmp_path):
    write(tmp_path / "train.h5", RUNS[f"trial/{TRIAL['id']}/train"])
    table = frame.read_images(tmp_path / "train.h5")
    assert len(table) == 0 and {"run", "attack", "gradient", "image", "robust_correct"} <= set(table)


def test_what_is_none_of_ours_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        frame.read(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w"):
        pass
    with pytest.raises(ValueError, match=r"other\.h5: neither a metrics file nor a run's; allowed: "):
        frame.read(tmp_path / "other.h5")
