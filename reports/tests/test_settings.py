"""Settings: every network's and search's, said once where all have the same, and by name where they differ."""

import re

from reports.numbers import settings, tables
from reports.tests.test_reports import EVIL, metrics, page_of, search, trial

__all__ = ["metrics"]  # the fixture


def set_up(rule, seed=0, **changed):
    entry, *runs = trial(rule, seed, 1.0)
    return {**entry, "settings": {**entry["settings"], **changed}}, *runs


def test_what_all_have_is_said_once_and_what_differs_with_its_names(metrics):
    trials = [set_up("bp", lr=0.1, nesterov=True), set_up("fa", lr=0.5), set_up("usf", lr=0.5)]
    (group,) = settings.groups(tables.read(metrics(trials)))
    rows = dict(group.rows())
    assert (group.title, [*group.members]) == ("ResNet-20 on digits", ["BP", "FA", "uSF"])
    assert rows["lr"] == [("0.1", ["BP"]), ("0.5", ["FA", "uSF"])] and rows["nesterov"] == [("yes", ["BP"])]
    assert rows["protocol"] == [("repaired", [])]


def test_one_network_with_two_settings_is_numbered_as_in_charts(metrics):
    one, (entry, train, evaluation) = set_up("fa", lr=0.1), set_up("fa", lr=0.2)
    entry["id"] += "2"
    (group,) = settings.groups(tables.read(metrics([one, (entry, train, evaluation)])))
    assert dict(group.rows())["lr"] == [("0.1", ["FA"]), ("0.2", ["FA (2)"])]


def test_the_page_has_networks_and_searches_with_their_rules(metrics):
    page = page_of(metrics([set_up("bp", lr=0.1), set_up("fa", lr=EVIL)], searches=[search(0)]))
    found = page.partition("<summary>Settings</summary>")[2].partition("</details>")[0]
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found))
    assert "ResNet-20 on digits BP; FA" in text and "Searches on digits darts-bio " in text
    assert "lr 0.1 (BP) ;" in text and EVIL not in found
