"""The format as editors read it: accepts what `spec` accepts, marks what is wrong in shape, and a real language server makes use of it."""

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from bionas import catalog
from data_prep import DATASETS
from suite.definition import editors, schema, spec
from suite.definition.tests.language_server import SERVER, LanguageServer
from suite.definition.tests.test_spec import GOOD, MISTAKES
from suite.definition.text import load

FOLDER = Path(__file__).parents[3] / "benchmarks"
BENCHMARKS = sorted(FOLDER.glob("*.yaml"))
SCHEMA = editors.exported()


def errors(text):
    return [error.message for error in Draft7Validator(SCHEMA).iter_errors(yaml.safe_load(text))]


def test_the_file_that_is_kept_is_what_the_format_says():
    assert editors.FILE.read_text(encoding="utf-8") == editors.text(), "run python -m suite.definition.editors"


def test_it_is_written_where_asked(tmp_path, capsys):
    editors.main([str(tmp_path / "mine.json")])
    assert json.loads((tmp_path / "mine.json").read_text(encoding="utf-8")) == SCHEMA
    assert "$schema=mine.json" in capsys.readouterr().out


def test_it_is_a_schema():
    Draft7Validator.check_schema(SCHEMA)


def test_every_description_is_whole():
    """A comma ends one that is not quoted, in YAML's braces, and makes a key without a value of the rest."""
    assert ": null" not in json.dumps(SCHEMA)


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
def test_every_benchmark_names_it_and_fits(file):
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0] == editors.LINE
    assert (FOLDER / editors.LINE.partition("=")[2]).is_file()
    assert errors(text) == []


@pytest.mark.parametrize(
    "loose",
    [
        ("[digits]", "[{name: digits, subset: 100}]"),
        ("seeds: [0, 1]", "protocols: [paper, {name: repaired, seeds: [3]}]"),
        ("images: 10", "gradients: [rule, true]"),
        ("images: 10", 'gradients: ["true"]'),
        ("[fgsm]", "[fgsm, {name: pgd, n_restarts: 5, eps: [0.1, 0.2]}, {name: apgd, norm: [Linf, L2]}]"),
        ("attacks:\n  names: [fgsm]\n  images: 10", "attacks: [{names: [fgsm]}, {names: [square], preset: standard}]"),
        ("models:", "search: {methods: [darts], rule_sets: {a: [fa]}}\nmodels:"),
        ("models:", "search: [{methods: [darts], rule_sets: {a: [fa]}}]\nmodels:"),
        ("models:", "cells: {genotypes: [biodarts], rules: [fa], train_on: [digits]}\nmodels:"),
        ("{epochs: 3}", "&short {epochs: 3}\n  by_rule: {fa: {<<: *short, lr: 0.2}}"),
    ],
)
def test_what_is_taken_for_what_is_meant_fits(loose):
    text = GOOD.replace(*loose, 1)
    assert text != GOOD
    spec.parse(text)
    assert errors(text) == []


def wrong_in_shape(text):
    """Whether the format alone, which is all that an editor has, is what refuses a definition."""
    try:
        raw = load(text)
    except ValueError:  # no YAML, or a key twice: an editor sees that by itself
        return False
    spec._loosen(raw)
    return any(Draft202012Validator(schema.schema()).iter_errors(raw))


SHAPE = [name for name, (old, new, _) in MISTAKES.items() if wrong_in_shape(GOOD.replace(old, new, 1))]
SHAPE.remove("name with a newline")  # whose end Python's $ does not mind, and JavaScript's does: the server is asked below


@pytest.mark.parametrize("mistake", SHAPE)
def test_what_is_wrong_in_shape_does_not_fit(mistake):
    old, new, _ = MISTAKES[mistake]
    assert errors(GOOD.replace(old, new, 1))


@pytest.mark.parametrize("mistake", ["unknown parameter", "another attack's parameter", "parameter of the wrong kind", "half a step"])
def test_neither_does_a_parameter_that_an_attack_does_not_have(mistake):
    old, new, _ = MISTAKES[mistake]
    assert errors(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    "wrong",
    [
        "name: a\nabout: b\n",  # no data sets
        "name: a\nabout: b\ndefinitions: [demo]\ndatasets: [digits]\n",
        "name: a\nabout: b\ndefinitions: []\n",
    ],
)
def test_a_list_of_definitions_is_nothing_else(wrong):
    assert errors("name: a\nabout: b\ndefinitions: [demo]\n") == []
    assert errors(wrong)


def nodes(node):
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from nodes(value)


def test_its_patterns_are_javascripts():
    """What ECMAScript has no word for: anchors by letters, possessive and atomic groups, inline flags, named groups of Python's."""
    patterns = [node["pattern"] for node in nodes(SCHEMA) if isinstance(node.get("pattern"), str)]
    assert patterns
    for pattern in patterns:
        assert not re.search(r"\\[AZz]|\(\?[PaiLmsux>(]|[*+?}]\+", pattern), pattern
    (name,) = (
        node["properties"]["name"]["pattern"]
        for node in nodes(SCHEMA)
        if "about" in node.get("properties", {}) and "device" in node["properties"]
    )
    assert [bool(re.search(name, word)) for word in ("a-1", "-a", "A", "a b", "")] == [True, False, False, False, False]


def test_every_key_of_the_format_is_explained_but_in_mappings_of_names():
    described = {name for node in nodes(SCHEMA) for name, child in node.get("properties", {}).items() if "description" in child}
    described |= {"settings"}  # where it is a reference, by what that refers to
    keys = {name for node in nodes(schema.schema()) if isinstance(node.get("properties"), dict) for name in node["properties"]}
    assert keys - described == set()


def test_the_catalogs_names_are_enumerated():
    lists = [set(map(str, node["enum"])) for node in nodes(SCHEMA) if "enum" in node]
    for names in (catalog.RULES, [*catalog.RULES, *catalog.NETWORK_RULES], catalog.MODELS, catalog.ATTACKS, catalog.METHODS, DATASETS):
        assert set(names) in lists


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editor")
    (folder / editors.FILE.name).write_text(editors.text(), encoding="utf-8")
    with LanguageServer(folder) as server:
        yield server


@pytest.mark.skipif(SERVER is None, reason="needs yaml-language-server: npm install -g yaml-language-server, or YAML_LANGUAGE_SERVER=PATH")
class TestALanguageServer:
    """The one of VS Code's YAML extension, asked as an editor asks it."""

    def opened(self, server, text):
        """Open a definition whose cursor is at ¦; return what is offered there, and what is marked in it: (line, message)."""
        text = f"{editors.LINE}\n{text}"
        line, column = next(((i, row.index("¦")) for i, row in enumerate(text.splitlines()) if "¦" in row), (0, 0))
        file, marks = server.open(text.replace("¦", ""))
        return server.completions(file, line, column), [
            (text.splitlines()[mark["range"]["start"]["line"]], mark["message"]) for mark in marks
        ]

    @pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
    def test_a_benchmark_has_no_mark(self, server, file):
        _, marks = server.open(file.read_text(encoding="utf-8"))
        assert marks == []

    def test_a_wrong_key_is_marked_where_it_is(self, server):
        _, marks = self.opened(server, GOOD.lstrip().replace("epochs: 3", "epoch: 3"))
        ((line, message),) = marks
        assert "epoch: 3" in line and "epoch is not allowed" in message

    def test_a_wrong_name_is_marked_with_those_that_are_right(self, server):
        _, marks = self.opened(server, GOOD.lstrip().replace("[bp, fa]", "[bp, uSF]"))
        ((line, message),) = marks
        assert "uSF" in line and all(f'"{rule}"' in message for rule in catalog.RULES)

    def test_a_name_that_does_not_fit_its_pattern_is_marked(self, server):
        for wrong in ('"good\\n"', "Good", "--cores"):
            _, marks = self.opened(server, GOOD.lstrip().replace("name: good", f"name: {wrong}"))
            ((line, message),) = marks
            assert line == f"name: {wrong}" and "pattern" in message

    def test_keys_are_offered(self, server):
        offered, _ = self.opened(server, "name: mine\nabout: x\ndatasets: [digits]\n¦\n")
        assert {"seeds", "models", "search", "cells", "attacks", "expect"} <= offered

    def test_settings_are_offered(self, server):
        offered, _ = self.opened(server, "name: mine\nabout: x\ndatasets: [digits]\nmodels:\n  settings:\n    ¦\n")
        assert {"epochs", "lr", "schedule", "brsf_redraw"} <= offered

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("models:\n  rules: [¦]\n", [*catalog.RULES, *catalog.NETWORK_RULES]),
            ("models:\n  names: [¦]\n", catalog.MODELS),
            ("datasets: [¦]\n", DATASETS),
            ("attacks:\n  names: [¦]\n", catalog.ATTACKS),
            ("attacks:\n  - names:\n      - ¦\n", catalog.ATTACKS),
            ("search:\n  methods: [¦]\n", catalog.METHODS),
            ("search:\n  rule_sets:\n    bio: [¦]\n", catalog.RULES),
            ("cells:\n  rules: [¦]\n", [*catalog.ASSIGNMENTS, *catalog.RULES]),
            ("models:\n  by_rule:\n    ¦\n", catalog.RULES),
        ],
    )
    def test_names_are_offered(self, server, text, names):
        offered, _ = self.opened(server, f"name: mine\nabout: x\n{text}")
        assert set(names) <= offered
