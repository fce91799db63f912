"""`only=`: exactly the runs that are meant, and what they need."""

import functools

import pytest

from suite import plan
from suite.definition import spec
from suite.plan.__main__ import main

# By hand, for each of 2 seeds: searches darts-bio and darts-bp on digits; trials resnet20 under bp and fa, darts-bio searched and
# shuffled on digits, darts-bio and darts-bp searched on fashion_mnist.
DEFINITION = """
name: many
about: some of everything
datasets: [digits]
seeds: [0, 1]
models: {names: [resnet20], rules: [bp, fa]}
search:
  methods: [darts]
  rule_sets: {bio: [fa, usf], bp: [bp]}
cells:
  - {rules: [searched, shuffled], searches: [darts-bio]}
  - {rules: [searched], train_on: [fashion_mnist]}
expect:
  "trial/digits/resnet20/*": {test_error: {at_most: 50}}
  "search/digits/darts-bio/*": {val_accuracy: {at_least: 20}}
"""
OTHER = "{name: other, about: one more, datasets: [digits], models: {names: [resnet56], rules: [bp]}}"


@functools.cache
def many():
    return plan.plan(spec.parse(DEFINITION))


def selected(text):
    (found,) = plan.select([many()], text)
    return found


def what(found):
    """Searches, and trials, by what they are."""
    searches = sorted((s.name, s.seed) for s in found.searches.values())
    return searches, sorted((t.dataset, t.network, t.rules, t.seed) for t in found.trials.values())


def test_the_whole_is_as_counted_by_hand():
    assert (len(many().searches), len(many().trials)) == (2 * 2, 6 * 2)


@pytest.mark.parametrize(
    ("text", "searches", "trials"),
    [
        ("network=resnet20 rules=fa seed=1", [], [("digits", "resnet20", "fa", 1)]),
        ("network=resnet20 rules=bp,fa seed=1", [], [("digits", "resnet20", "bp", 1), ("digits", "resnet20", "fa", 1)]),
        ("seed=0 network=res*", [], [("digits", "resnet20", "bp", 0), ("digits", "resnet20", "fa", 0)]),
        ("kind=search seed=0", [("darts-bio", 0), ("darts-bp", 0)], []),
        # a trial brings its search along, from another data set, too
        ("rules=shuffled seed=1", [("darts-bio", 1)], [("digits", "darts-bio", "shuffled", 1)]),
        ("dataset=fashion* network=darts-bp seed=0", [("darts-bp", 0)], [("fashion_mnist", "darts-bp", "searched", 0)]),
        # a search's name is a network's
        (
            "network=darts-bio dataset=digits seed=0",
            [("darts-bio", 0)],
            [("digits", "darts-bio", "searched", 0), ("digits", "darts-bio", "shuffled", 0)],
        ),
        ("protocol=repaired kind=trial rules=bp seed=0,1", [], [("digits", "resnet20", "bp", 0), ("digits", "resnet20", "bp", 1)]),
    ],
)
def test_exactly_the_runs_that_all_words_mean(text, searches, trials):
    assert what(selected(text)) == (searches, trials)


def test_a_run_is_the_same_run_in_a_selection():
    whole, part = many(), selected("rules=shuffled seed=1")
    assert part.searches.items() <= whole.searches.items() and part.trials.items() <= whole.trials.items()


def test_a_selection_has_a_folder_of_its_own_and_says_what_it_is():
    found = selected("seed=1   rules=fa")
    assert found.name == "many-only" and found.to_dict()["only"] == "seed=1 rules=fa"
    assert "only" not in many().to_dict()


def test_bounds_and_data_sets_that_no_run_is_left_of_go():
    found = selected("rules=shuffled")
    assert list(found.benchmark.expect) == ["search/digits/darts-bio/*"]
    transfer = selected("dataset=fashion_mnist network=darts-bp")
    assert not transfer.benchmark.expect and transfer.to_dict()["datasets"] == ["digits", "fashion_mnist"]
    assert list(selected("rules=fa").benchmark.expect) == ["trial/digits/resnet20/*"]


def test_of_several_benchmarks_those_stay_in_which_something_is_meant_each_with_the_words_that_mean_something_in_it():
    other = plan.plan(spec.parse(OTHER))
    assert [p.name for p in plan.select([many(), other], "network=resnet56")] == ["other-only"]
    both = plan.select([many(), other], "network=resnet20,resnet56 rules=bp seed=0")
    assert [(p.name, p.only, len(p.trials)) for p in both] == [
        ("many-only", "network=resnet20 rules=bp seed=0", 1),
        ("other-only", "network=resnet56 rules=bp seed=0", 1),
    ]
    assert plan.select([other], both[1].only) == [both[1]]  # each part can be asked for alone


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty; allowed: KEY=VALUE with kind, dataset, network"),
        ("netwrk=resnet20", "'netwrk' is unknown; allowed: kind, dataset, network, rules, protocol, seed; did you mean 'network'"),
        ("resnet20", "'resnet20' is unknown; allowed: kind"),
        ("seed=", "seed has no value"),
        ("seed=0 seed=1", "seed stands twice; allowed: seed=VALUE,VALUE"),
        ("network=resnet2", "network: 'resnet2' is unknown; allowed: darts-bio, darts-bp, resnet20; did you mean 'resnet20'"),
        ("seed=0,7", "seed: '7' is unknown; allowed: 0, 1"),
        ("rules=usf*", r"rules: 'usf\*' is unknown; allowed: bp, fa, searched, shuffled"),
        ("kind=search rules=bp", "no run is all of kind=search rules=bp at once"),
    ],
)
def test_a_mistake_is_one_line(text, words):
    with pytest.raises(ValueError, match=words) as error:
        selected(text)
    assert "\n" not in str(error.value) and str(error.value).startswith("only: ")


def test_a_tiny_part_of_it(tmp_path):
    (tmp_path / "many.yaml").write_text(DEFINITION)
    (found,) = plan.select([plan.load(str(tmp_path / "many.yaml"), "tiny")], "rules=fa")
    assert found.name == "many-tiny-only" and what(found) == ([], [("digits", "resnet20", "fa", 0)])


def test_the_table_of_a_part(tmp_path, capsys):
    (tmp_path / "other.yaml").write_text(OTHER.replace("rules: [bp]", "rules: [bp, fa]"))
    main([str(tmp_path / "other.yaml"), "--only", "rules=fa"])
    printed = capsys.readouterr().out
    assert "0 searches, 1 trials; results in results/other-only/" in printed
    assert "only     rules=fa" in printed and " bp " not in printed
