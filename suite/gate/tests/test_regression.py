"""Fallen behind or not: by three points, by noise, slower, missing; held against scipy's own intervals."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy import stats

from suite import check, store
from suite.gate import regression
from suite.gate.regression import Limits

ERRORS = {"resnet20/fa": [10.0, 11.0, 9.5, 10.4, 10.1], "resnet20/bp": [5.0, 5.5, 5.2, 4.9, 5.3]}


def runs(errors=ERRORS, seconds=None, images=10_000):
    """A training for each seed of each network, its epochs' seconds around those given."""
    found = {}
    for network, by_seed in errors.items():
        for seed, error in enumerate(by_seed):
            path = f"trial/digits/{network}/seed{seed}-epochs8-{seed:08x}/train"
            times = (seconds or {}).get(network, 1.0) * (1 + 0.02 * np.sin(np.arange(8.0) + seed))
            metrics = {"test_error": error, "test_images": images}
            params = {"rules": network.partition("/")[2], "seed": seed}
            found[path] = store.Run("train", path, params, metrics=metrics, timings={"epoch_seconds": times, "seconds": 8.0})
    return found


def judged(now, before=None, **limits):
    """{network or run: (kept, what is said)} of accuracy, and of speed."""
    lines = regression.compare(now, before or runs(), "test_error", Limits(**limits))
    speed = {line.what: (line.kept, line.said) for line in lines if "epoch's time" in line.said}
    return {line.what: (line.kept, line.said) for line in lines if "epoch's time" not in line.said}, speed


def fa(found):
    return next(value for name, value in found.items() if "/fa/" in name)


def shifted(by, network="resnet20/fa"):
    return ERRORS | {network: [error + step for error, step in zip(ERRORS[network], by, strict=True)]}


def test_the_same_is_said_to_be_the_same():
    accuracy, _ = judged(runs())
    assert len(accuracy) == 2 and all(value == (True, "test_error: the same, 5 seeds") for value in accuracy.values())


def test_worse_by_more_than_noise_fails_by_the_one_sided_t_interval():
    by = [1.0, 1.4, 0.7, 1.1, 0.9]
    kept, said = fa(judged(runs(shifted(by)))[0])
    lower = stats.ttest_1samp(by, 0, alternative="greater").confidence_interval(1 - 0.05 / 2).low  # of two networks
    assert not kept and lower > 0
    assert said == f"test_error: +1.02 points, at least {lower:+.2f} at 97.5 % by seeds, 5 seeds: worse"
    assert fa(judged(runs(shifted(by)), tolerance=1.0)[0])[0]  # the interval reaches below a point


def test_noise_passes_though_the_mean_is_worse():
    kept, said = fa(judged(runs(shifted([1.0, -0.8, 0.4, -0.5, 0.6])))[0])
    assert kept and said.endswith("no worse that could be told")


def test_three_points_fail_whatever_the_interval():
    by = [9.0, -3.0, 5.0, -1.0, 6.0]
    assert stats.ttest_1samp(by, 0, alternative="greater").pvalue > 0.05
    kept, said = fa(judged(runs(shifted(by)))[0])
    assert not kept and said.endswith("worse, and 3 points or more")
    assert fa(judged(runs(shifted(by)), worst=4.0)[0])[0]


def test_of_one_seed_the_test_images_say_how_sure_it_is():
    before = {"resnet20/fa": [10.0]}
    for images, kept in ((10_000, False), (400, True)):  # by 1.5 points
        lines = regression.compare(runs({"resnet20/fa": [11.5]}, images=images), runs(before, images=images), "test_error", Limits())
        (line,) = [line for line in lines if "test_error" in line.said]
        shares = [(round(p * images) + 1) / (images + 2) for p in (0.115, 0.1)]
        half = stats.norm.isf(0.05) * np.sqrt(sum(p * (1 - p) / (images + 2) for p in shares))
        assert line.kept == kept
        assert float(re.search(r"at least (\S+)", line.said)[1]) == pytest.approx(1.5 - 100 * half, abs=0.006)
        assert line.doubt == (kept and 100 * half > 3)


def test_few_images_are_a_doubt_and_no_free_pass():
    lines = regression.compare(runs({"resnet20/fa": [11.5]}, images=100), runs({"resnet20/fa": [10.0]}, images=100), "test_error", Limits())
    assert [line.doubt for line in lines if "test_error" in line.said] == [True]
    lines = regression.compare(runs({"resnet20/fa": [13.0]}, images=100), runs({"resnet20/fa": [10.0]}, images=100), "test_error", Limits())
    assert [line.kept for line in lines if "test_error" in line.said] == [False]


def test_a_run_that_is_gone_or_diverged_is_missed_by_name_and_a_new_one_is_named():
    now = runs()
    gone = next(path for path in now if "/fa/seed3" in path)
    lost = next(path for path in now if "/fa/seed1" in path)
    del now[gone]
    now[lost] = store.Run("train", lost, {}, status="diverged")
    accuracy, _ = judged(now | runs({"resnet20/usf": [9.0]}))
    assert accuracy[gone] == (False, "test_error: missing; it was 10.4")
    assert accuracy[lost] == (False, "test_error: diverged; it was 11")
    assert accuracy["trial/digits/resnet20/usf/train"] == (True, "new here")


def test_slower_is_told_by_the_ratio_to_bp_and_a_slower_machine_is_not():
    _, speed = judged(runs(seconds={"resnet20/fa": 1.2}), runs(seconds={"resnet20/fa": 0.8}))
    kept, said = fa(speed)
    assert not kept and "resnet20/bp's: 1.50 of what it was" in said and said.endswith("slower by more than 1.25")
    everything = {"resnet20/fa": 3.0, "resnet20/bp": 3.0}
    kept, said = fa(judged(runs(seconds=everything))[1])
    assert kept and "1.00 of what it was" in said
    assert fa(judged(runs(seconds={"resnet20/fa": 1.2}))[1])[0]  # less than the factor
    assert fa(judged(runs(seconds={"resnet20/fa": 1.4}), slower=1.5)[1])[0]


def test_another_network_is_not_slower():
    now = runs(seconds={"resnet20/fa": 2.0})
    now = {path: replace(run, metrics=run.metrics | {"flops": 7 if "/fa/" in path else 5}) for path, run in now.items()}
    before = {path: replace(run, metrics=run.metrics | {"flops": 5}) for path, run in runs().items()}
    assert judged(now, before)[1] == {}


def test_networks_that_differ_in_a_setting_keep_their_whole_names():
    both = {path.replace("-epochs8", f"-{lr}"): run for lr in ("lr0.1", "lr0.2") for path, run in runs().items()}
    assert "trial/digits/resnet20/fa/-lr0.2/train" in judged(both, both)[0]


def test_where_nothing_learns_by_bp_no_speed_is_judged():
    only = {"resnet20/fa": ERRORS["resnet20/fa"]}
    assert judged(runs(only), runs(only))[1] == {}


def test_files_without_a_run_in_common_are_refused():
    with pytest.raises(ValueError, match="share no run with a test_error"):
        judged(runs({"resnet20/usf": [9.0]}))


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (runs(shifted([3.0] * 5)), r"MISSED  trial/digits/resnet20/fa/train  test_error: \+3.00 points, .*: worse"),
        (runs(shifted([1.0, -0.8, 0.4, -0.5, 0.6])), None),
        (runs(seconds={"resnet20/fa": 2.0}), r"MISSED  trial/digits/resnet20/fa/train .* slower by more than 1\.25"),
        (
            {path: run for path, run in runs().items() if "/fa/seed2" not in path},
            r"MISSED  trial/digits/resnet20/fa/seed2.* missing; it was",
        ),
    ],
    ids=["by three points", "by noise", "slower", "a missing trial"],
)
def test_the_command_fails_with_its_line(tmp_path, capsys, now, line):
    for name, content in (("now.h5", now), ("before.h5", runs())):
        with h5py.File(tmp_path / name, "w") as file:
            for path, run in content.items():
                store.write_group(file.create_group(path), run)
            file["verdict"] = "[]"
    command = [str(tmp_path / "now.h5"), "--reference", str(tmp_path / "before.h5")]
    if line is None:
        check.main(command)
        assert "MISSED" not in capsys.readouterr().out
    else:
        with pytest.raises(SystemExit) as stop:
            check.main(command)
        assert stop.value.code == 1
        assert re.search(f"^{line}", capsys.readouterr().out, re.MULTILINE)
