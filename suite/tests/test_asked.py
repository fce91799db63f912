"""What the workflow is asked for: definitions by name or path, once each, at a size, in part."""

from pathlib import Path

import pytest

from suite import asked

ROOT = Path(__file__).parents[2]


def test_the_plain_command_asks_for_the_demo_whole_and_of_any_code():
    found = asked.read({}, ROOT)
    assert (list(found.plans), found.size, found.only, found.code) == (["demo"], "full", "", "any")
    assert Path(found.files["demo"]).resolve() == ROOT / "benchmarks/demo.yaml"


def test_several_by_name_and_by_path_and_those_that_a_definition_lists():
    found = asked.read({"benchmark": f"{ROOT}/benchmarks/nullsearch.yaml,paper", "size": "tiny"}, ROOT)
    listed = ["cifar10", "single-rules", "cifar100", "imagenet16-120", "baselines", "robustness"]
    assert list(found.plans) == [f"{name}-tiny" for name in ("nullsearch", *listed)]
    assert Path(found.files["cifar10-tiny"]).name == "cifar10.yaml" and len(found.words) == 2


def test_a_part_of_those_that_have_it():
    found = asked.read({"benchmark": "demo,likeness", "only": "network=resnet20 rules=bp"}, ROOT)
    assert list(found.plans) == ["demo-only"] and list(found.files) == ["demo-only"]
    assert {(t.network, t.rules) for t in found.plans["demo-only"].trials.values()} == {("resnet20", "bp")}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"siz": "tiny"}, "siz unknown; allowed: benchmark, size, only, image, code"),
        ({"only": None}, "only: is empty"),
        ({"benchmark": "demo,demo"}, "another definition is named 'demo', too"),
        ({"code": "equl"}, "did you mean 'equal'"),
    ],
)
def test_a_mistake_is_one_line(config, words):
    with pytest.raises(ValueError, match=words) as error:
        asked.read(config, ROOT)
    assert "\n" not in str(error.value)
