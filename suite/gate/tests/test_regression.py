"""Fallen behind or not: by three points, by noise, slower, missing; held against scipy's own intervals."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy import stats

from suite import check, store
from suite.gate import regression
from suite.gate.networks import SEED
from suite.gate.regression import Limits

ERRORS = {"resnet20/fa": [10.0, 11.0, 9.5, 10.4, 10.1], "resnet20/bp": [5.0, 5.5, 5.2, 4.9, 5.3]}
FA = "digits/resnet20/fa"


def runs(errors=ERRORS, seconds=None, images=10_000, epochs=8, **more):
    """A training for each seed of each network, its epochs' seconds around those given."""
    found = {}
    for network, by_seed in errors.items():
        for seed, error in enumerate(by_seed):
            path = f"trial/digits/{network}/seed{seed}-epochs8-{seed:08x}/train"
            times = (seconds or {}).get(network, 1.0) * (1 + 0.02 * np.sin(np.arange(epochs) + seed))
            metrics = {"test_error": error, "test_images": images}
            params = {"network": network.partition("/")[0], "rules": network.partition("/")[2], "seed": seed, **more}
            found[path] = store.Run("train", path, params, metrics=metrics, timings={"epoch_seconds": times, "seconds": 8.0})
    return found


def judged(now, before=None, metric="test_error", **limits):
    """{network or run: line} of accuracy, and of speed."""
    lines = regression.compare(now, before or runs(), metric, Limits(**limits))
    speed = {line.what: line for line in lines if "time" in line.said}
    return {line.what: line for line in lines if "time" not in line.said}, speed


def shifted(by, network="resnet20/fa"):
    return ERRORS | {network: [error + step for error, step in zip(ERRORS[network], by, strict=True)]}


def test_the_same_is_said_to_be_the_same():
    accuracy, _ = judged(runs())
    assert [(line.kept, line.said) for line in accuracy.values()] == 2 * [(True, "test_error: the same, 5 seeds")]


def test_worse_by_more_than_noise_fails_by_the_one_sided_t_interval():
    by = [1.0, 1.4, 0.7, 1.1, 0.9]
    line = judged(runs(shifted(by)))[0][FA]
    ends = [stats.ttest_1samp(by, 0, alternative=side).confidence_interval(1 - 0.05 / 2) for side in ("greater", "less")]  # of two networks
    low, high = ends[0].low, ends[1].high
    assert not line.kept and low > 0
    assert line.said == (
        f"test_error: 10.20 → 11.22, 1.02 points worse [{low:+.2f}, {high:+.2f}] at 97.5 % each way by seeds, 5 seeds: worse"
    )
    assert judged(runs(shifted(by)), tolerance=1.0)[0][FA].kept  # the interval reaches below a point


def test_noise_passes_though_the_mean_is_worse():
    line = judged(runs(shifted([1.0, -0.8, 0.4, -0.5, 0.6])))[0][FA]
    assert line.kept and not line.doubt and line.said.endswith("no worse that could be told")


def test_three_points_fail_whatever_the_interval():
    by = [9.0, -3.0, 5.0, -1.0, 5.0]
    assert stats.ttest_1samp(by, 0, alternative="greater").pvalue > 0.05
    line = judged(runs(shifted(by)))[0][FA]
    assert not line.kept and line.said.endswith("worse, by 3 points or more")
    assert judged(runs(shifted(by)), worst=4.0)[0][FA].kept


def test_what_might_be_three_points_worse_and_passes_is_a_doubt_and_what_cannot_be_is_none():
    by = [6.0, -5.0, 4.0, -4.0, 5.0]
    high = stats.ttest_1samp(by, 0, alternative="less").confidence_interval(1 - 0.05 / 2).high
    line = judged(runs(shifted(by)))[0][FA]
    assert line.kept and line.doubt and line.said.endswith(f"cannot tell at this n: it may be worse by {high:.1f}")
    assert not judged(runs(shifted([step - 8 for step in by])))[0][FA].doubt


def test_of_an_accuracy_more_is_better():
    def with_accuracy(*shares):
        return {
            p: replace(r, metrics={"val_accuracy": s}) for (p, r), s in zip(runs({"resnet20/fa": [0] * 3}).items(), shares, strict=True)
        }

    before = with_accuracy(90.0, 91.0, 92.0)
    (line,) = judged(with_accuracy(85.0, 86.1, 86.9), before, "val_accuracy")[0].values()
    assert not line.kept and line.said.startswith("val_accuracy: 91.00 → 86.00, 5.00 points worse")
    (line,) = judged(with_accuracy(95.0, 96.1, 96.9), before, "val_accuracy")[0].values()
    assert line.kept and "5.00 points better" in line.said


def half_width(now, before, images, level):
    """Agresti and Caffo's, by scipy's variance of a binomial of the adjusted shares."""
    shares = [(round(p * images / 100) + 1) / (images + 2) for p in (now, before)]
    return 100 * stats.norm.isf(level) * np.sqrt(sum(stats.binom(images + 2, p).var() for p in shares)) / (images + 2)


@pytest.mark.parametrize(("images", "kept"), [(10_000, False), (400, True)])  # by 1.5 points
def test_of_one_seed_the_test_images_say_how_sure_it_is(images, kept):
    one = {"resnet20/fa": [11.5]}
    line = judged(runs(one, images=images), runs({"resnet20/fa": [10.0]}, images=images))[0][FA]
    half = half_width(11.5, 10.0, images, 0.05)
    assert line.kept == kept
    ends = [float(end) for end in re.search(r"\[(\S+), (\S+)\]", line.said).groups()]
    assert ends == pytest.approx([1.5 - half, 1.5 + half], abs=0.006)
    assert line.doubt == (kept and 1.5 + half > 3)


@pytest.mark.parametrize(("wrong", "kept"), [(19, False), (12, True)])
def test_what_the_demo_can_tell(wrong, kept):
    """18 networks of two seeds, 364 test images, 8 of them wrong: 3.02 points fail; 1.1 pass, and are said not to be told."""
    before = {f"net{i}/bp": [800 / 364, 800 / 364] for i in range(18)}
    now = before | {"net7/bp": [100 * wrong / 364] * 2}
    accuracy, _ = judged(runs(now, images=364), runs(before, images=364))
    assert [line.kept for line in accuracy.values()].count(False) == (not kept)
    line = accuracy["digits/net7/bp"]
    assert line.kept == line.doubt == kept
    by, half = 100 * (wrong - 8) / 364, half_width(100 * wrong / 364, 800 / 364, 728, 0.05 / 18)
    assert f"[{by - half:+.2f}, {by + half:+.2f}] at 99.72 % each way by test images, 2 seeds" in line.said


def test_equal_files_of_other_seeds_fail_one_time_in_twenty():
    """Five seeds of ten networks that differ by chance alone, many times over: of the whole gate, not of each network."""
    draws = np.random.default_rng(5)
    failed = 0
    for _ in range(200):
        now, before = ({f"net{i}/bp": list(draws.normal(10, 0.5, 5)) for i in range(10)} for _ in range(2))
        failed += not all(line.kept for line in judged(runs(now, epochs=1), runs(before, epochs=1))[0].values())
    assert stats.binomtest(failed, 200, 0.05).pvalue > 0.001


def test_retrainings_of_a_seed_are_no_more_seeds():
    now = runs({"resnet20/fa": [11.0, 13.0, 12.0, 12.0]})
    before = runs({"resnet20/fa": [10.0, 10.0, 10.0, 10.0]})
    for found in (now, before):
        for i, (path, run) in enumerate(found.items()):
            found[path] = replace(run, params={**run.params, "of_seed": i // 2})
    line = judged(now, before)[0][FA]
    assert "10.00 → 12.00, 2.00 points worse" in line.said and "2 seeds" in line.said


def test_a_run_that_is_gone_or_diverged_is_missed_by_name_and_a_new_one_is_named():
    now = runs()
    gone = next(path for path in now if "/fa/seed3" in path)
    lost = next(path for path in now if "/fa/seed1" in path)
    del now[gone]
    now[lost] = replace(now[lost], metrics={}, status="diverged")
    accuracy, _ = judged(now | runs({"resnet20/usf": [9.0]}))
    assert (accuracy[gone].kept, accuracy[gone].said) == (False, "test_error: missing; it was 10.4")
    assert (accuracy[lost].kept, accuracy[lost].said) == (False, "test_error: diverged; it was 11")
    new = accuracy["digits/resnet20/usf"]
    assert new.kept and new.note and new.said == "new here"


def test_a_search_that_is_gone_or_diverged_is_missed_though_it_has_no_error():
    search = {f"search/digits/darts-bp/seed{i}-0000000{i}": store.Run("search", f"s{i}", {"seed": i}) for i in range(2)}
    now = {path: replace(run, status="diverged") for path, run in [*search.items()][:1]}
    accuracy, _ = judged(runs() | now, runs() | search)
    assert {line.what: line.said for line in accuracy.values() if not line.kept} == {
        "search/digits/darts-bp/seed0-00000000": "diverged; it was ok",
        "search/digits/darts-bp/seed1-00000001": "missing; it was ok",
    }


def test_networks_are_known_across_a_commit_that_moves_numbers():
    """NUMERICS is hashed into every id."""
    now = {re.sub(r"-0000", "-ffff", path): run for path, run in runs(numerics=8).items()}
    accuracy, speed = judged(now, runs(numerics=7))
    assert [line.said for line in accuracy.values()] == 2 * ["test_error: the same, 5 seeds"] and len(speed) == 2


def test_cells_of_searches_by_other_settings_are_other_networks():
    def parts(parent, error):
        found = runs({"darts-bio/searched": [error] * 3}, parent=f"digits/darts-bio/seed0-{parent}-{hash(parent) & 0xFFFFFFFF:08x}")
        return {path.replace("-0000", f"-{parent[-1]}000"): run for path, run in found.items()}

    both = parts("lr1", 5.0) | parts("lr2", 9.0)
    assert len(judged(both, both)[0]) == 2
    gone, _ = judged(parts("lr2", 9.0), both)
    assert sum("missing" in line.said for line in gone.values()) == 3


def test_an_id_without_seed_and_hash():
    assert SEED.sub("", "trial/digits/lenet/bp/seed0-of1-lr0.1-c81bcb49/train") == "trial/digits/lenet/bp/lr0.1/train"
    assert SEED.sub("", "search/digits/darts-bp/seed12-c81bcb49") == "search/digits/darts-bp/"
    assert SEED.sub("", "digits/darts-bp/seed0-epochs8-c81bcb49") == "digits/darts-bp/epochs8"


def test_slower_is_told_by_the_ratio_to_bp_and_a_slower_machine_is_not():
    _, speed = judged(runs(seconds={"resnet20/fa": 1.2}), runs(seconds={"resnet20/fa": 0.8}))
    assert not speed[FA].kept
    assert re.fullmatch(
        r"an epoch's time ÷ digits/resnet20/bp's: 1\.50 of what it was, at least 1\.4\d: slower by more than 1\.25", speed[FA].said
    )
    everything = {"resnet20/fa": 3.0, "resnet20/bp": 3.0}
    line = judged(runs(seconds=everything))[1][FA]
    assert line.kept and "1.00 of what it was" in line.said
    assert judged(runs(seconds={"resnet20/fa": 1.2}))[1][FA].kept  # less than the factor
    assert judged(runs(seconds={"resnet20/fa": 1.4}), slower=1.5)[1][FA].kept


def test_of_one_seed_the_least_is_scipys_bootstrap_of_the_epochs():
    """Of a network whose epochs differ; the other three samples are constant."""
    times = np.random.default_rng(1).gamma(30, 0.05, 41)
    errors = {network: [found[0]] for network, found in ERRORS.items()}
    before = {p: replace(r, timings={"epoch_seconds": np.ones(41)}) for p, r in runs(errors).items()}
    now = {p: replace(r, timings={"epoch_seconds": times}) if "/fa/" in p else before[p] for p, r in before.items()}
    found = stats.bootstrap((times[1:],), np.median, confidence_level=0.9, n_resamples=20_000, method="percentile", rng=2)
    line = judged(now, before)[1][FA]
    assert float(re.search(r"at least (\S+?)(:|$)", line.said)[1]) == pytest.approx(found.confidence_interval.low, abs=0.015)


def test_what_slows_one_run_of_two_by_chance_is_no_slower_network():
    errors = {network: found[:2] for network, found in ERRORS.items()}
    now = runs(errors)
    for path in now:
        if "/fa/seed1" in path:
            now[path] = replace(now[path], timings={"epoch_seconds": 3 * now[path].timings["epoch_seconds"]})
    assert judged(now, runs(errors))[1][FA].kept
    assert not judged(runs(errors, seconds={"resnet20/fa": 1.6}), runs(errors))[1][FA].kept


def test_few_timings_are_judged_by_twice_and_say_so():
    errors = {network: found[:1] for network, found in ERRORS.items()}
    line = judged(runs(errors, {"resnet20/fa": 1.9}, epochs=3), runs(errors, epochs=3))[1][FA]
    assert line.kept and line.note and line.said.endswith("cannot tell by so few timings")
    line = judged(runs(errors, {"resnet20/fa": 2.1}, epochs=3), runs(errors, epochs=3))[1][FA]
    assert not line.kept and line.said.endswith("slower by 2 or more")


def test_a_search_is_measured_by_the_same_search_over_bp():
    def searches(seconds):
        return {
            f"search/digits/darts-{name}/seed{i}-0000000{i}": store.Run(
                "search",
                f"{name}{i}",
                {"seed": i, "method": "darts", "rule_set": rules, "name": f"darts-{name}"},
                timings={"search_seconds": time + 0.01 * i},
            )
            for name, rules, time in (("bio", ["fa", "usf"], seconds), ("bp", ["bp"], 2.0))
            for i in range(4)
        }

    _, speed = judged(runs() | searches(6.0), runs() | searches(4.0))
    line = speed["search/digits/darts-bio"]
    assert not line.kept and line.said.startswith("the search's time ÷ search/digits/darts-bp's: 1.50 of what it was")
    assert speed["search/digits/darts-bp"].said.startswith("the search's time ÷ digits/resnet20/bp's epoch: 1.00 of what it was")


def test_another_network_is_not_slower_and_it_is_said_that_nothing_was_compared():
    now = runs(seconds={"resnet20/fa": 2.0})
    now = {path: replace(run, metrics=run.metrics | {"flops": 7 if "/fa/" in path else 5}) for path, run in now.items()}
    before = {path: replace(run, metrics=run.metrics | {"flops": 5}) for path, run in runs().items()}
    line = judged(now, before)[1][FA]
    assert line.kept and line.note and "other work" in line.said


def test_a_yardstick_of_another_machine_is_none():
    def on(processor):
        return {p: replace(r, provenance={"device": "cpu", "processor": processor if "/bp/" in p else "A"}) for p, r in runs().items()}

    assert "at least" in judged(on("A"), on("A"))[1][FA].said
    assert judged(on("B"), on("A"))[1][FA].said == "time: not compared, nothing else under BP is in both files"


def test_where_nothing_learns_by_bp_no_speed_is_judged():
    only = {"resnet20/fa": ERRORS["resnet20/fa"]}
    assert [(line.note, line.kept) for line in judged(runs(only), runs(only))[1].values()] == [(True, True)]


def test_files_without_a_run_in_common_are_refused():
    with pytest.raises(ValueError, match="share no run with a test_error"):
        judged(runs({"resnet20/usf": [9.0]}))


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (runs(shifted([3.0] * 5)), r"MISSED  digits/resnet20/fa  test_error: 10\.20 → 13\.20, 3\.00 points worse .*: worse"),
        (runs(shifted([1.0, -0.8, 0.4, -0.5, 0.6])), None),
        (runs(seconds={"resnet20/fa": 2.0}), r"MISSED  digits/resnet20/fa  .* slower by more than 1\.25"),
        (
            {path: run for path, run in runs().items() if "/fa/seed2" not in path},
            r"MISSED  trial/digits/resnet20/fa/seed2.* missing; it was 9\.5",
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
    command = [str(tmp_path / "now.h5"), "--reference", str(tmp_path / "before.h5"), "--summary", str(tmp_path / "summary.md")]
    if line is None:
        check.main(command)
        assert "MISSED" not in capsys.readouterr().out
    else:
        with pytest.raises(SystemExit) as stop:
            check.main(command)
        assert stop.value.code == 1
        assert re.search(f"^{line}", capsys.readouterr().out, re.MULTILINE)
    first = (tmp_path / "summary.md").read_text().splitlines()[0]
    assert first.startswith("**Passes: " if line is None else "**Fails: ")
