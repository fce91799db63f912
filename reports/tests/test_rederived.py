"""The numbers of the main tables once more: from the HDF5 by h5py, numpy and scipy, and none of the code that made the page."""

from __future__ import annotations

import io
import json
import lzma
import math
import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import stats

from reports.numbers import tables
from reports.page.page import render
from reports.tests import big
from reports.tests.pages import Page

PUBLISHED = Path(__file__).parents[2] / "benchmarks/published"
SPELLED = {"bp": "BP", "fa": "FA", "usf": "uSF", "brsf": "brSF", "frsf": "frSF", "dfa": "DFA"}
NORMS = {"onepixel": "l0", "pgd": "linf", "fgsm": "linf"}  # of those whose parameters name none
WAYS = {"through its own": "own", "through the true": "true", "without": "none", "from other": "transfer"}


class File:
    """A metrics file as plain h5py gives it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = io.BytesIO(lzma.decompress(path.read_bytes())) if path.suffix == ".xz" else path
        self.file = h5py.File(content, "r")
        self.plan = json.loads(self.file["plan"][()])

    def ok(self, path: str) -> h5py.Group | None:
        return self.file[path] if path in self.file and self.file[path].attrs["status"] == "ok" else None

    def variants(self) -> dict[tuple, list[dict]]:
        """Return the plan's trials that differ in their seed alone."""
        found: dict[tuple, list[dict]] = {}
        for trial in self.plan["trials"]:
            parent = trial["parent"] or ""
            moved = parent and parent.split("/")[0] != trial["dataset"]
            name = f"{trial['network']}@{parent.split('/')[0]}" if moved else trial["network"]
            where = "cells" if parent or "cells" in trial["settings"] else trial["network"]
            how = json.dumps([trial["settings"], parent.rpartition("/")[0], trial["overrides"], trial.get("tuning")], sort_keys=True)
            found.setdefault((trial["dataset"], where, name, trial["rules"], tuple(trial["protocols"]), how), []).append(trial)
        return found

    def by_seed(self, trials: list[dict], metric: str) -> dict[int, float]:
        found: dict[int, list[float]] = {}
        for trial in trials:
            train = self.ok(f"trial/{trial['id']}/train")
            for stage in ("train", "evaluation") if train is not None else ():
                group = self.file.get(f"trial/{trial['id']}/{stage}")
                if group is not None and metric in group.attrs:
                    found.setdefault(trial.get("of_seed", trial["seed"]), []).append(float(group.attrs[metric]))
        return {seed: float(np.mean(values)) for seed, values in found.items()}


@pytest.fixture(scope="module", params=["claims.h5.xz", "nullsearch.h5.xz", "synthetic"])
def both(request, tmp_path_factory):
    """A file and its page."""
    path = PUBLISHED / request.param
    if request.param == "synthetic":
        path = tmp_path_factory.mktemp("big") / "metrics.h5"
        big.write(130, path)
    return File(path), Page(render(tables.read(path)))


def same(cell, expected, part="order"):
    """Whether a cell holds a number; none, where nothing is expected."""
    found = cell.number(part)
    if expected is None or math.isnan(expected):
        return found is None
    return found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def spelled(side):
    rules = side.rsplit("/", 1)[1]
    return SPELLED.get(rules, rules)


def t_interval(values, level=0.95):
    """Return the t-interval of a mean as scipy has it; none below three values, or where all are the same."""
    if len(values) < 3 or np.ptp(values) < 1e-9:
        return None
    ends = stats.ttest_1samp(values, 0).confidence_interval(level)
    return float(ends.low), float(ends.high)


def holds(cell, values, ends=None):
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    mean = float(np.mean(values)) if len(values) else None
    return same(cell, mean) and same(cell, sd, "sd") and all(same(cell, ends and ends[i], part) for i, part in enumerate(("low", "high")))


def slug(*words):
    return "-".join(re.sub(r"[^a-z0-9]+", "-", str(word).lower()).strip("-") for word in words)


def label(record):
    """What tells a row from the others of its table."""
    network = record["genotype"].text if "genotype" in record else ""
    rules = (record.get("rule") or record["rules"]).text.rstrip("†").strip()
    return network, rules, record["protocol"].text if "protocol" in record else ""


def matched(file, page, where):
    """Yield (trials, record, trials of its block) of every row of a table that the page has for each block; all of them, each once."""
    variants = file.variants()
    for dataset, block in dict.fromkeys(key[:2] for key in variants):
        inside = {key: trials for key, trials in variants.items() if key[:2] == (dataset, block)}
        several = len({key[4] for key in inside}) > 1
        for id in where(dataset, block):
            records = page.tables[id].records()
            expected = [
                (key[2] if block == "cells" else "", SPELLED.get(key[3], key[3]), ", ".join(key[4]) if several else "") for key in inside
            ]
            yield id, list(zip(inside.items(), expected, strict=True)), records, inside


def baseline(key, inside):
    if key[1] == "cells":
        return next((k for k in inside if k[2] == key[2] and k[3] == "searched" and k[4][:1] == key[4][:1]), None)
    return next((k for k in inside if k[3] == "bp" and k[4][:1] == key[4][:1]), None)


def test_accuracies_and_their_differences(both):
    file, page = both
    rows = 0
    for _, expected, records, inside in matched(file, page, lambda *block: [slug("accuracy", *block)]):
        assert [label(record) for record in records] == [words for _, words in expected]
        for ((key, trials), _), record in zip(expected, records, strict=True):
            found = file.by_seed(trials, "test_error")
            cell, single = record["test error, %"], None
            images = [file.ok(f"trial/{t['id']}/train") for t in trials]
            images = [int(g.attrs["test_images"]) for g in images if g is not None and "test_images" in g.attrs]
            if len(found) == len(images) == 1:
                (error,) = found.values()
                ends = stats.binomtest(round(error * images[0] / 100), images[0]).proportion_ci(method="exact")
                single = 100 * ends.low, 100 * ends.high
            assert holds(cell, list(found.values()), single) and record["seeds"].number() == len(found)
            assert holds(record["training accuracy, %"], list(file.by_seed(trials, "train_accuracy").values()))
            assert same(record["parameters"], np.mean([*file.by_seed(trials, "num_parameters").values()] or [math.nan]))
            against = baseline(key, inside)
            theirs = file.by_seed(inside[against], "test_error") if against not in (None, key) else {}
            paired = [found[seed] - theirs[seed] for seed in found if seed in theirs]
            (difference,) = (record[head] for head in record if head.startswith("difference"))
            assert same(difference, np.mean(paired) if paired else None)
            assert [difference.number(part) for part in ("low", "high")] == pytest.approx(t_interval(paired) or (None, None))
            rows += 1
    assert rows == len(file.variants()) > 4


def test_searches(both):
    file, page = both
    groups = {}
    for search in file.plan["searches"]:
        protocols = search["protocols"]
        name = search["name"] if protocols == ["repaired"] else f"{search['name']} {', '.join(protocols)}"
        how = json.dumps([search["settings"], search["method"], search["rule_set"]], sort_keys=True)
        groups.setdefault((name, search["dataset"], how), []).append(file.ok(f"search/{search['id']}"))
    if not groups:
        assert "searches-all" not in page.tables
        return
    records = page.tables["searches-all"].records()
    assert [(record["search"].text.rstrip("†"), record["data"].text) for record in records] == [key[:2] for key in groups]
    for record, runs in zip(records, groups.values(), strict=True):
        for head, metric in {"validation accuracy, %": "val_accuracy", "α span": "alpha_span"}.items():
            assert holds(record[head], [float(run.attrs[metric]) for run in runs if run is not None and metric in run.attrs])
        assert same(record["multiply-adds"], np.mean([run.attrs["multiply_adds"] for run in runs if run is not None]))


def attacked(file, trials, norm, size):
    """Return {kind of way: [percent of images that stay right under all of its attacks within a budget]} by the definition's seed."""
    found = {}
    for trial in trials:
        train, group = file.ok(f"trial/{trial['id']}/train"), file.ok(f"trial/{trial['id']}/evaluation")
        if train is None or group is None or "attacks" not in group:
            continue
        by_kind = {}
        for name, one in trial["evaluation"]["attacks"].items():
            its_norm, its_size = budget(one)
            if its_norm != norm or its_size > size:
                continue
            for way in one["gradients"]:
                if f"attacks/{name}/{way}/robust_correct" in group:
                    kind = "own" if way == "rule" or (way == "true" and trial["rules"] == "bp") else way
                    kind = "transfer" if way.startswith("from-") else kind
                    by_kind.setdefault(kind, []).append(group[f"attacks/{name}/{way}/robust_correct"][()])
        if by_kind:
            by_kind["worst"] = [each for kind in by_kind.values() for each in kind]
            share = {kind: 100 * float(np.all(each, axis=0).mean()) for kind, each in by_kind.items()}
            share |= {"clean": float(group.attrs["clean_accuracy"]), "images": int(group.attrs["images"])}
            found.setdefault(trial.get("of_seed", trial["seed"]), []).append(share)
    return found


def budget(one):
    parameters = one["parameters"]
    norm = {"Linf": "linf", "L2": "l2"}.get(parameters.get("norm", ""), NORMS.get(one["attack"], "linf"))
    return norm, float(f"{parameters['pixels'] if norm == 'l0' else parameters['eps']:.3g}")


def test_worst_cases_and_robust_accuracies(both):
    file, page = both
    every = {budget(one) for trial in file.plan["trials"] for one in ((trial["evaluation"] or {}).get("attacks") or {}).values()}
    checked = 0
    for norm, size in sorted(every):
        for _, expected, records, _ in matched(file, page, lambda *block: [slug("robustness", *block, norm, size)]):  # noqa: B023
            found = [(attacked(file, trials, norm, size), words) for (_, trials), words in expected]
            assert [label(record) for record in records] == [words for shares, words in found if shares]
            for (by_seed, _), record in zip((each for each in found if each[0]), records, strict=True):
                heads = {head: next((kind for start, kind in WAYS.items() if head.startswith(start)), None) for head in record}
                heads = {h: "clean" if h == "no attack" else "worst" if h.startswith("worst") else kind for h, kind in heads.items()}
                for head, kind in heads.items():
                    if kind is None:
                        continue
                    networks = [share for shares in by_seed.values() for share in shares if kind in share]
                    values = [[share[kind] for share in shares if kind in share] for shares in by_seed.values()]
                    values = [float(np.mean(each)) for each in values if each]
                    if record[head].text == "= own":
                        continue
                    ends = t_interval(values)
                    if len(networks) == 1:
                        images = networks[0]["images"]
                        exact = stats.binomtest(round(values[0] * images / 100), images).proportion_ci(method="exact")
                        ends = 100 * exact.low, 100 * exact.high
                    ends = ends and (max(ends[0], 0.0), min(ends[1], 100.0))
                    assert holds(record[head], values, ends), (head, record[head], values)
                    checked += bool(values)
    assert checked > 20 or not every


def derived(file):
    """Return every named comparison with its difference, its p-value by Holm, its level and its words."""
    first = {}
    for key, trials in file.variants().items():
        for protocol in key[4]:
            first[key[0], f"{key[2]}/{key[3]}", protocol] = trials
    rows = []
    for named in file.plan["comparisons"]:
        sides = [first.get((named["dataset"], named[side], named["protocols"][0]), []) for side in ("of", "against")]
        ours, theirs = (file.by_seed(side, named["metric"]) for side in sides)
        pairs = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
        differences = [a - b for a, b in pairs]
        tested = len(pairs) >= 3 and np.ptp(differences) > 1e-9
        rows.append((named, differences, stats.ttest_rel(*zip(*pairs, strict=True)).pvalue if tested else math.nan))
    family = sum(len(named["seeds"]) >= 3 for named in file.plan["comparisons"])
    order = sorted((i for i in range(len(rows)) if rows[i][2] == rows[i][2]), key=lambda i: rows[i][2])
    corrected, levels, worst, level, going = {}, {}, 0.0, None, True
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (family - rank) * rows[i][2]))
        level = 0.05 / (family - rank) if going else level
        going = going and rows[i][2] < level
        corrected[i], levels[i] = worst, level
    return [(*row, corrected.get(i), levels.get(i)) for i, row in enumerate(rows)]


def compared(page):
    return [record for id, table in page.tables.items() if id.startswith("comparisons-") for record in table.records()]


def test_comparisons(both):
    file, page = both
    rows, records = derived(file), compared(page)
    found = {(r["network"].text, r["against"].text, r["data"].text, r["metric"].text): r for r in records}
    assert len(rows) == len(records) == len(found)
    for (named, differences, _, p, level), record in zip(rows, sorted(records, key=records.index), strict=True):
        assert record["network"].text == ", ".join([named["of"].rsplit("/", 1)[0], spelled(named["of"])])
        assert record["data"].text == named["dataset"] and record["seeds"].number() == len(differences)
        assert same(record["difference"], np.mean(differences) if differences else None) and same(record["p (Holm)"], p)
        ends = t_interval(differences, 1 - level) if level else None
        assert [record["interval"].number(part) for part in ("low", "high")] == pytest.approx(ends or (None, None))
        told = p is not None and p < 0.05 and len(differences) >= 5
        higher = bool(differences) and np.mean(differences) > 0
        claimed = {"test_error": ("errs less", "errs more")}.get(named["metric"], ("is lower", "is higher"))[int(higher)]
        assert (record["in words"].text == claimed) == told and (told or record["in words"].text not in ("errs less", "errs more"))


def test_labels_permuted_in_the_file_change_what_is_claimed(tmp_path):
    """Whose run is whose is all that changes: what was told apart by it falls."""
    path = tmp_path / "metrics.h5"
    path.write_bytes(lzma.decompress((PUBLISHED / "claims.h5.xz").read_bytes()))
    claimed = [r["in words"].text for r in compared(Page(render(tables.read(path)))) if r["p (Holm)"].number() < 0.05]
    with h5py.File(path, "a") as file:
        ids = [trial["id"] for trial in json.loads(file["plan"][()])["trials"]]
        for i, id in enumerate(ids):
            file.move(f"trial/{id}", f"away/{i}")
        for i, place in enumerate(np.random.default_rng(0).permutation(len(ids))):
            file.move(f"away/{i}", f"trial/{ids[place]}")
            for stage in file[f"trial/{ids[place]}"].values():
                stage.attrs["id"] = ids[place]
        del file["away"]
    text = render(tables.read(path))
    permuted = [r["in words"].text for r in compared(Page(text)) if (r["p (Holm)"].number() or 1) < 0.05]
    assert len(claimed) >= 3 and not permuted
    assert 'class="claim"' not in text.partition('id="comparisons"')[0].partition('id="findings"')[2] or "masked" in text


def test_every_run_is_in_the_page_with_its_numbers_and_its_command(both):
    file, page = both
    runs = {}
    file.file.visititems(lambda name, node: runs.update({name: node}) if "stage" in node.attrs else None)
    if "runs" in page.packed:
        assert not page.tables["runs"].rows
        columns = dict(zip(page.tables["runs"].heads, page.packed["runs"], strict=True))
        number = {head: column.get("order") for head, column in columns.items()}
        text = {head: column["texts"] for head, column in columns.items()}
        low = columns["test error, %"]["low"]
    else:
        records = page.tables["runs"].records()
        text = {head: [record[head].text for record in records] for head in records[0]}
        number = {head: [record[head].attributes.get("data-order", "") for record in records] for head in records[0]}
        low = [record["test error, %"].attributes.get("data-low", "") for record in records]
    assert len(text["run"]) == len(runs) and len(set(zip(text["run"], text["stage"], strict=True))) == len(runs)
    by = {(node.attrs["id"], node.attrs["stage"]): node for node in runs.values()}
    for i, key in enumerate(zip(text["run"], text["stage"], strict=True)):
        node = by[key]
        assert text["status"][i].rstrip("†").replace(" (", "(") == node.attrs["status"]
        error = node.attrs.get("test_error") if node.attrs["status"] == "ok" and key[1] == "train" else None
        assert number["test error, %"][i] == ("" if error is None else repr(float(error)))
        if error is not None and i % 10 == 0:
            images = int(node.attrs["test_images"])
            exact = stats.binomtest(round(error * images / 100), images).proportion_ci(method="exact")
            assert float(low[i]) == pytest.approx(100 * exact.low, abs=1e-9)
        seconds = node["timings"].attrs.get("seconds")
        assert number["time"][i] == ("" if seconds is None else repr(float(seconds)))
        argv = node["provenance"].attrs.get("argv", "")
        words = shlex.split(text["command"][i])
        assert " ".join(words).removeprefix(".venv/bin/") == argv
        if argv:
            assert json.loads(words[words.index("--params") + 1]).get("id", key[0]) == key[0]


def test_the_same_file_is_the_same_bytes_packed_or_not(both):
    file, _ = both
    if file.path.suffix != ".xz":
        assert render(tables.read(file.path)) == render(tables.read(file.path))
