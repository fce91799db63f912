"""What an installed package may add, and what is said of one that is wrong: a line that names it, and what is allowed."""

import importlib.metadata
import sys

import pytest

from bionas import catalog, plugins
from bionas.entries import Attack, DataSet, Searcher

FITS = {
    "attacks": (Attack, lambda attack: attack.mistakes(catalog.KINDS)),
    "searchers": (Searcher, lambda searcher: searcher.mistakes({"candidates"})),
    "datasets": (DataSet, DataSet.mistakes),
}
GOOD = 'Attack("x:X", "linf", "Doe 2031", standard={"eps": 0.1})'


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install made-up packages, {name-version: {group: {entry point: text}}}, with the module `strange`; take what they add of a kind."""
    for name in ("ADDED", "WRONG"):
        monkeypatch.setattr(plugins, name, {})
    monkeypatch.syspath_prepend(tmp_path)

    def install(packages, kind, module="", taken=("bp",)):
        for package, groups in packages.items():
            name, version = package.split("-")
            folder = tmp_path / f"{package}.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            lines = [f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items()) for group, points in groups.items()]
            (folder / "entry_points.txt").write_text("\n".join(lines))
        (tmp_path / "strange.py").write_text(f"from bionas.entries import Attack, DataSet, Searcher\n{module}\n")
        monkeypatch.delitem(sys.modules, "strange", raising=False)
        points = [point for found in importlib.metadata.distributions(path=[str(tmp_path)]) for point in found.entry_points]
        monkeypatch.setattr(plugins, "_points", lambda: importlib.metadata.EntryPoints(points))
        plugins.installed.cache_clear()
        return plugins.found(kind, taken, *FITS.get(kind, ()))

    yield install
    plugins.installed.cache_clear()


def only(kind, name="mine", value="strange:MINE"):
    return {"doe-1.5": {f"bionas.{kind}": {name: value}}}


def test_rules_and_networks_are_names_of_what_jobs_import(installed):
    assert installed(only("rules", value="nowhere.at.all:RULE"), "rules") == {"mine": "nowhere.at.all:RULE"}
    plugins.check()
    assert "nowhere" not in sys.modules


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("attacks", GOOD),
        ("attacks", 'Attack("x:X", "l2", "Doe 2031", standard={"budget": 1, "tries": 3}, kinds={"tries": int})'),
        ("searchers", 'Searcher("x", ("candidates",))'),
        ("searchers", 'Searcher("x", ("heat",), schema={"heat": {"type": "number", "default": 1, "description": "Of it."}})'),
        ("searchers", 'Searcher("x", ("way",), schema={"way": {"enum": ["up", "down"], "default": "up", "description": "Which."}})'),
        ("datasets", 'DataSet("x:x", 10, 5, 1, 8, 2)'),
    ],
)
def test_what_is_declared_well_is_taken(installed, kind, made):
    assert list(installed(only(kind), kind, f"MINE = {made}")) == ["mine"]
    plugins.check()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("Mine", "strange:MINE", "its name; allowed: a-z, 0-9 and _, a letter first"),
        ("my-rule", "strange:MINE", "its name; allowed: a-z"),
        ("mine", "strange", "found 'strange'; allowed: module:attribute"),
        ("mine", "strange:MINE [extra]", "found 'strange:MINE [extra]'; allowed: module:attribute"),
        ("bp", "strange:MINE", "the name is taken here; allowed: another one for this rule"),
    ],
)
def test_an_entry_point_that_is_wrong_is_left_out_and_said(installed, name, value, words):
    assert installed(only("rules", name, value), "rules") == {}
    with pytest.raises(ValueError) as error:
        plugins.check()
    assert str(error.value).startswith(f"plugin doe 1.5: entry point {name!r} of bionas.rules: {words}") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "module", "words"),
    [
        ("attacks", "import nowhere_at_all", "cannot be imported (ModuleNotFoundError: No module named 'nowhere_at_all')"),
        ("attacks", "raise RuntimeError('two\\nlines')", "cannot be imported (RuntimeError: two); allowed: a bionas.entries.Attack"),
        ("attacks", "", "cannot be imported (AttributeError: module 'strange' has no attribute 'MINE')"),
        ("attacks", "MINE = 3", "strange:MINE is of type int; allowed: a bionas.entries.Attack"),
        ("attacks", f"MINE = {GOOD.replace('linf', 'l3')}", "norm 'l3'; allowed: linf, l2, l0"),
        ("attacks", f"MINE = {GOOD.replace('x:X', 'x')}", "target 'x'; allowed: module:class"),
        ("attacks", f"MINE = {GOOD.replace('Doe 2031', '')}", "source ''; allowed: who proposes it"),
        ("attacks", f"MINE = {GOOD.replace('eps', 'steps')}", "standard has none of budget, eps, pixels"),
        ("attacks", f"MINE = {GOOD[:-2]}, 'tries': 3}})", "parameter 'tries' has no kind; allowed in kinds"),
        ("attacks", f"MINE = {GOOD[:-1]}, kinds={{'tries': str}})", "kind <class 'str'> of parameter 'tries'; allowed: a tuple"),
        ("searchers", 'MINE = Searcher("x", ("heat",))', "setting 'heat' is not described; allowed in schema"),
        ("searchers", 'MINE = Searcher("x y", ())', "module 'x y'; allowed: a module's name"),
        ("searchers", 'MINE = Searcher("x", (), schema={"heat": {}})', "schema of 'heat'; allowed: of its settings"),
        *(
            ("searchers", f'MINE = Searcher("x", ("heat",), schema={{"heat": {node}}})', f"setting 'heat': {words}")
            for node, words in (
                ({"type": "integer", "default": 1}, "no description"),
                ({"type": "array", "default": [], "description": "It."}, "type 'array'; allowed: integer, number, boolean"),
                ({"type": "integer", "default": 1.5, "description": "It."}, "default 1.5; allowed: of type integer"),
                ({"type": "number", "default": True, "description": "It."}, "default True; allowed: of type number"),
                ({"type": "integer", "minimum": 2, "default": 1, "description": "It."}, "default 1; allowed: within its bounds"),
                ({"type": "number", "exclusiveMinimum": 1, "default": 1, "description": "It."}, "default 1; allowed: within"),
                ({"enum": ["a", "b"], "default": "c", "description": "It."}, "default 'c' of the words ['a', 'b']; allowed: one"),
                ({"type": "integer", "default": 1, "desc": "It."}, "key 'desc'; allowed: type, enum"),
            )
        ),
        ("datasets", 'MINE = DataSet("x:x", 0, 5, 1, 8, 2)', "train 0; allowed: a whole number, 1 or more"),
    ],
)
def test_what_is_declared_badly_is_left_out_and_said(installed, kind, module, words):
    assert installed(only(kind), kind, module) == {}
    with pytest.raises(ValueError) as error:
        plugins.check()
    said = str(error.value)
    assert said.startswith(f"plugin doe 1.5: entry point 'mine' of bionas.{kind}: ") and words in said and "\n" not in said


def test_of_two_that_have_the_same_name_neither_is_taken(installed):
    two = {f"{package}-1.0": {"bionas.rules": {"mine": "x:X", package: "x:X"}} for package in ("doe", "roe")}
    assert installed(two, "rules") == {"doe": "x:X", "roe": "x:X"}
    assert plugins.WRONG["doe"].endswith("'mine' of bionas.rules: roe has a rule of this name, too; allowed: one of the two installed")
    assert "doe has a rule" in plugins.WRONG["roe"]


def test_a_run_names_the_packages_of_what_it_uses_and_no_others(installed):
    installed({"Doe.Plugin-1.5": {"bionas.rules": {"mine": "x:X"}}, "roe-2.0": {"bionas.rules": {"other": "y:Y"}}}, "rules")
    assert plugins.used(("rules", "mine"), ("rules", "bp"), ("models", "mine")) == {"doe-plugin": "1.5"}
    assert plugins.used(("rules", "bp")) == {}


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (
            {"roe": "1.0"},
            "needs plugin roe 1.0; here is none; install that one; for jobs in a container, add it to docker/plugins.txt and rebuild",
        ),
        ({"doe": "1.4"}, "needs plugin doe 1.4; here is 1.5; "),
        ({"doe": "1.5"}, "plugin doe 1.5: entry point 'bp' of bionas.rules: the name is taken here"),
    ],
)
def test_a_job_demands_them_in_that_version_and_in_order(installed, needs, words):
    installed({"doe-1.5": {"bionas.rules": {"mine": "x:X", "bp": "x:X"}}}, "rules")
    plugins.demand({})
    with pytest.raises(ValueError) as error:
        plugins.demand(needs)
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "module", "words"),
    [
        ("rules", "raise OSError('no')", "strange:MINE cannot be imported (OSError: no); allowed: a rule"),
        ("rules", "MINE = 3", "strange:MINE is of type int; allowed: a bionas.rules.table.Rule"),
        (
            "rules",
            "from bionas.rules.table import DFA as MINE",
            "strange:MINE draws `direct`, as a rule of whole networks does; allowed: one that a layer follows by itself",
        ),
        ("models", "MINE = 3", "strange:MINE is of type int; allowed: a function or a class"),
    ],
)
def test_what_jobs_import_is_what_it_has_to_be(installed, kind, module, words):
    installed(only(kind), kind, module)
    with pytest.raises(ValueError) as error:
        catalog.load("strange:MINE")
    assert str(error.value) == f"plugin doe 1.5: entry point 'mine' of bionas.{kind}: {words}"


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("", "strange has no NONE, MIXES, Settings, prepare, search; allowed: a module with"),
        ("NONE = Settings = prepare = search = None\nMIXES = False", "has MIXES = False, and its entry mixes=True; allowed: the same"),
    ],
)
def test_so_is_the_module_of_a_search_method(installed, module, words):
    installed(only("searchers"), "searchers", f'MINE = Searcher("strange", ())\n{module}')
    with pytest.raises(ValueError, match=words):
        catalog.load("strange")


def test_a_parameter_of_ones_own_is_checked_by_its_kind(monkeypatch):
    mine = Attack("x:X", "linf", "Doe 2031", standard={"eps": 0.1, "tries": 3, "way": "up"}, kinds={"tries": int, "way": ("up", "down")})
    monkeypatch.setitem(catalog.ATTACKS, "mine", mine)
    assert catalog.parameters("mine", "paper", tries=5, way="down") == {"eps": 0.1, "tries": 5, "way": "down"}
    with pytest.raises(ValueError, match=r"mine: tries: 2\.5 does not fit; allowed: a whole number"):
        catalog.parameters("mine", "paper", tries=2.5)
    with pytest.raises(ValueError, match="mine: way: 'left' is unknown; allowed: up, down"):
        catalog.parameters("mine", "paper", way="left")


def test_ours_declare_themselves_as_plugins_have_to():
    for attack in catalog.ATTACKS.values():
        assert not list(attack.mistakes(catalog.KINDS))
    known = {name for searcher in catalog.SEARCHERS.values() for name in searcher.settings}
    for searcher in catalog.SEARCHERS.values():
        assert not list(searcher.mistakes(known))
        assert catalog.load(searcher.module).MIXES is searcher.mixes
