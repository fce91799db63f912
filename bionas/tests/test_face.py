"""The face of the library: what `import bionas` offers, and what it costs."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import bionas

# What design and README promise.
NAMES = [
    *("RuleConv2d", "RuleLinear", "convert", "advance", "true_gradient"),
    *("SearchSpace", "Genotype", "Supernet", "Network", "resnet20", "resnet56", "evaluate"),
]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_user_of_the_library_wants_is_there(name):
    assert name in dir(bionas) and getattr(bionas, name).__module__.startswith("bionas.")


def test_a_name_that_is_not_offered_is_refused_with_those_that_are():
    with pytest.raises(AttributeError, match=r"no 'resnet18'; it offers evaluate, Network, resnet20"):
        _ = bionas.resnet18


def test_its_rooms_are_there_without_an_import_of_their_own():
    line = "import bionas; print(bionas.rules.RULES[0], bionas.attacks.evaluate is bionas.evaluate)"
    assert subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout == "bp True\n"


def test_what_a_type_checker_sees_is_what_runs():
    lines = [line.split() for line in Path(bionas.__file__).read_text().splitlines() if " as " in line and "import" in line]
    seen = {name: module for _, module, _, name, _, same in lines if name == same}
    assert set(seen) == set(bionas.__all__)
    assert all(getattr(import_module(module), name) is getattr(bionas, name) for name, module in seen.items())


def test_importing_it_imports_nothing_that_costs():
    code = "import sys; before = set(sys.modules); import bionas; print(*(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert ours == {"bionas"}
