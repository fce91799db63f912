"""Laws of the plan: what an id depends on, what `only` parts a plan into, and what a smaller size leaves."""

import functools
import itertools
import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from suite import plan
from suite.definition import spec
from suite.definition.runs import run_id
from suite.plan.size import cut

laws = settings(max_examples=40, deadline=None)
DEFINITION = """
name: many
about: some of everything
datasets: [digits, fashion_mnist]
seeds: [0, 1, 2]
models: {names: [resnet20, resnet56], rules: [bp, fa, brsf], settings: {epochs: 3, lr: 0.7, batch_size: 13}}
search:
  methods: [darts, random]
  rule_sets: {bio: [fa, usf], bp: [bp]}
cells: {rules: [searched, shuffled, usf]}
attacks: {names: [fgsm], gradients: [rule, true], images: 10}
expect:
  "trial/digits/resnet20/*": {test_error: {at_most: 50}}
"""
settings_of = st.dictionaries(
    st.sampled_from(["epochs", "lr", "batch_size", "cutout", "optimiser", "flip"]),
    st.integers(0, 3) | st.sampled_from([0.5, 1.5]) | st.booleans() | st.sampled_from(["a", "b"]) | st.lists(st.integers(0, 2), max_size=2),
)
trials = st.fixed_dictionaries(
    {
        "dataset": st.sampled_from(["digits", "cifar10"]),
        "network": st.sampled_from(["resnet20", "resnet56"]),
        "parent": st.none(),
        "rules": st.sampled_from(["bp", "fa"]),
        "seed": st.integers(0, 2),
        "settings": settings_of,
        "numerics": st.integers(1, 2),
    }
)


@functools.cache
def many():
    return plan.plan(spec.parse(DEFINITION))


def written(params):
    return json.dumps(params, sort_keys=True)  # 1, 1.0 and true are three settings


@laws
@given(one=trials, other=trials)
def test_the_same_parameters_have_one_id_and_others_another(one, other):
    assert (run_id("trial", one) == run_id("trial", other)) == (written(one) == written(other))


@laws
@given(params=trials, data=st.data())
def test_one_setting_that_differs_is_another_run(params, data):
    other = data.draw(settings_of)
    ids = {written(found): run_id("trial", found) for found in (params, {**params, "settings": {**params["settings"], **other}})}
    assert len(set(ids.values())) == len(ids)


def in_another_order(data, content):
    """The same definition: the keys of all mappings, and the entries of all lists, as they come; a search's rules stand in an order."""
    if isinstance(content, dict):
        found = {key: content[key] for key in data.draw(st.permutations(list(content)))}
        return {key: value if key == "rule_sets" else in_another_order(data, value) for key, value in found.items()}
    return data.draw(st.permutations(content)) if isinstance(content, list) else content


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_ids_do_not_see_the_order_in_which_a_definition_says_things(data):
    content = in_another_order(data, yaml.safe_load(DEFINITION))
    assert plan.plan(spec.parse(yaml.safe_dump(content, sort_keys=False))).runs.keys() == many().runs.keys()


@laws
@given(params=trials, data=st.data())
def test_the_hash_does_not_see_the_order_of_keys(params, data):
    def shuffled(mapping):
        return {key: mapping[key] for key in data.draw(st.permutations(list(mapping)))}

    ids = [run_id("trial", found) for found in (params, shuffled({**params, "settings": shuffled(params["settings"])}))]
    assert len({id.rpartition("-")[2] for id in ids}) == 1


@laws
@given(params=trials)
def test_an_id_is_a_path_of_plain_letters_that_begins_with_what_it_is(params):
    id = run_id("trial", params)
    assert id.startswith(f"{params['dataset']}/{params['network']}/{params['rules']}/seed{params['seed']}-")
    assert set(id) <= set("abcdefghijklmnopqrstuvwxyz0123456789/_-.") and ".." not in id and len(id.rpartition("-")[2]) == 8


def parts(key):
    """The plan by each value that its runs have of a key."""
    table = {"seed": ["0", "1", "2"], "dataset": ["digits", "fashion_mnist"], "kind": ["search", "trial"]}
    return {value: plan.select([many()], f"{key}={value}")[0] for value in table[key]}


@pytest.mark.parametrize("key", ["seed", "dataset"])
def test_only_parts_a_plan_into_disjoint_runs_that_are_all_of_it(key):
    """By a key of which what a trial needs has the same value as the trial."""
    found = parts(key)
    assert sum(len(part.runs) for part in found.values()) == len(many().runs)
    assert set().union(*(part.runs for part in found.values())) == set(many().runs)
    for part in found.values():
        assert all(many().runs[path] == run for path, run in part.runs.items())


def test_only_by_kind_leaves_nothing_out_and_what_is_needed_comes_along():
    found = parts("kind")
    assert set(found["trial"].runs) | set(found["search"].runs) == set(many().runs)
    assert set(found["search"].trials) == set()
    needed = {needed for path in found["trial"].runs for needed in many().needs(path)}
    assert needed and needed <= set(found["trial"].runs)


words = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.sets(st.sampled_from(["0", "1", "2"]), min_size=1),
        "dataset": st.sets(st.sampled_from(["digits", "fashion_mnist"]), min_size=1),
        "network": st.sets(st.sampled_from(["resnet20", "resnet56", "darts-bio"]), min_size=1),
    },
).filter(bool)


def asked(found):
    return " ".join(f"{key}={','.join(sorted(values))}" for key, values in found.items())


@laws
@given(found=words, data=st.data())
def test_a_selection_is_what_its_values_select_one_by_one_whatever_the_order_of_words(found, data):
    whole = plan.select([many()], asked(found))[0].runs
    apart = [
        plan.select([many()], " ".join(f"{key}={value}" for key, value in zip(found, each, strict=True)))[0].runs
        for each in itertools.product(*found.values())
    ]
    assert set(whole) == set().union(*apart)
    order = data.draw(st.permutations(list(found)))
    assert set(plan.select([many()], asked({key: found[key] for key in order}))[0].runs) == set(whole)


@laws
@given(found=words)
def test_a_selection_of_a_selection_is_itself(found):
    once = plan.select([many()], asked(found))[0]
    assert set(plan.select([once], asked(found))[0].runs) == set(once.runs) <= set(many().runs)


@pytest.mark.parametrize(
    "text", [DEFINITION, DEFINITION.replace("seeds: [0, 1, 2]", "seeds: [4]"), DEFINITION.replace(", fashion_mnist", "")]
)
def test_tiny_is_as_small_as_it_gets_and_has_every_kind_of_run(text):
    full = spec.parse(text)
    small = cut(full)
    assert cut(small) == small
    tiny, whole = plan.plan(small), plan.plan(full)
    assert {trial.rules for trial in tiny.trials.values()} == {trial.rules for trial in whole.trials.values()}
    assert {search.method for search in tiny.searches.values()} == {search.method for search in whole.searches.values()}
    assert 0 < len(tiny.runs) < len(whole.runs) and not tiny.runs.keys() & whole.runs.keys()
    assert {run.dataset for run in tiny.runs.values()} == {full.datasets[0]} and {run.seed for run in tiny.runs.values()} == {full.seeds[0]}


def test_more_seeds_are_more_of_the_same_runs():
    some = spec.parse(DEFINITION)
    fewer = plan.plan(replace(some, seeds=some.seeds[:2]))
    assert fewer.runs.items() <= many().runs.items()
    assert len(many().runs) * 2 == len(fewer.runs) * 3
