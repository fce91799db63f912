"""The studies that are kept: of today's definitions, small, and what the pages say of them is what they hold."""

import re
from pathlib import Path

import pytest

from reports import summary
from reports.numbers import tables
from suite import store
from suite.definition import editors

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "benchmarks/published").glob("*.h5.xz"))


def name_of(file):
    return file.name.partition(".")[0]


PAGE = (ROOT / "docs/results.md").read_text(encoding="utf-8")


@pytest.fixture(params=FILES, ids=lambda file: name_of(file))
def file(request):
    return request.param


def test_it_is_what_todays_definition_asks_for(file):
    with store.opened(file) as content:
        assert content.attrs["benchmark"] == name_of(file)
        today = (ROOT / f"benchmarks/{name_of(file)}.yaml").read_text(encoding="utf-8")
        assert content["definition"].asstr()[()].removeprefix(f"{editors.LINE}\n") == today.removeprefix(f"{editors.LINE}\n")


def test_the_page_says_what_it_holds(file):
    assert summary.block(PAGE, name_of(file)).group() == summary.summary(tables.read(file)), (
        f"run reports.summary {file} --into docs/results.md"
    )


def test_the_page_says_nothing_of_what_is_not_kept():
    assert {name for name in re.findall(r"<!-- (\S+) -->", PAGE) if name != "end"} == {name_of(file) for file in FILES}


def test_every_number_in_the_readmes_results_stands_in_its_study():
    """A sentence names its study in `code`; its decimal numbers are that study's."""
    results = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Results")[2].partition("\n## ")[0]
    assert results
    for paragraph in results.split("\n\n"):
        names = [name for name in re.findall(r"`([\w-]+)`", paragraph) if (ROOT / f"benchmarks/published/{name}.h5.xz").exists()]
        numbers = re.findall(r"[-+−]?\d+\.\d+", paragraph)
        assert names or not numbers, paragraph
        held = " ".join(summary.block(PAGE, name).group() for name in names).replace("−", "-")
        for number in numbers:
            assert re.search(rf"(?<![\d.]){re.escape(number.replace('−', '-').lstrip('+'))}(?!\d)", held), (number, names)


def test_all_of_it_is_small():
    assert sum(file.stat().st_size for file in FILES) < 4 * 2**20
