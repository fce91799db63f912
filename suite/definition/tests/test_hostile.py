"""Definitions that nobody would write: each is planned or refused in one line, soon, and in little memory."""

import os
import re
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suite import plan
from suite.definition import schema, spec
from suite.definition.tests.test_spec import GOOD
from suite.plan import expand

ROOT = Path(__file__).parents[3]
TEXTS = [file.read_text(encoding="utf-8") for file in sorted((ROOT / "benchmarks").glob("*.yaml"))]
TOKEN = re.compile(r"[\w.\-]+")
LONGEST = 2000  # letters of a refusal, which may list what is allowed
FUZZED = int(os.environ.get("BIONAS_FUZZED", 100))  # definitions by the format, and twice as many that are changed ones
ODD = [
    *("0", "-1", "1e400", "0x" + "F" * 2000, "9" * 5000, "9" * 900, "1:30:00", "2001-99-99", "2001-01-01", ".nan", "~", "null", "true"),
    *(
        "[]",
        "{}",
        "[[[[",
        "{a: b}",
        "? ",
        "- ",
        "---\n",
        "%YAML 9.9\n",
        "&a",
        "*a",
        "&a [*a]",
        "<<: *a",
        "\t",
        "\r",
        "#",
        ":",
        "|",
        "> ",
        "'",
    ),
    *("!!binary x", "!!set {a}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!timestamp x", "!!bool x", "!!int ''", "!!float x", "!!null x"),
    *(
        "!!python/object/apply:os.system [true]",
        "!!python/name:os.system",
        "../../x",
        "/etc/passwd",
        "$(touch x)",
        "`touch x`",
        "; touch x",
    ),
    *("<script>alert(1)</script>", "\x00", "\x85", "\u2028", "\ufeff", "\ud83d\ude00", "α", "1_000", "0o7", "2147483648", "x" * 5000),
]


def planned_or_one_line(text):
    try:
        found = plan.plan(spec.parse(text))
    except ValueError as error:  # anything else would be a traceback
        assert type(error) is ValueError and "\n" not in str(error) and 0 < len(str(error)) <= LONGEST
        return str(error)
    for run in (*found.searches, *found.trials, *found.tuning):  # these become folders
        assert re.fullmatch(r"[\w./@=-]+", run) and ".." not in run and not run.startswith("/")
    return ""


@st.composite
def mutated(draw):
    """A benchmark's text with a few of its words, lines or letters exchanged."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        words, lines = list(TOKEN.finditer(text)), text.split("\n")
        at = st.integers(0, len(text))
        match draw(st.integers(0, 5)):
            case 0:
                place = draw(at)
                text = text[:place] + draw(st.sampled_from(ODD) | st.text(max_size=3)) + text[place:]
            case 1:
                place = draw(at)
                text = text[:place] + text[place + draw(st.integers(1, 30)) :]
            case 2 if words:
                word = draw(st.sampled_from(words))
                text = text[: word.start()] + draw(st.sampled_from(ODD)) + text[word.end() :]
            case 3 if words:
                word, other = draw(st.sampled_from(words)), draw(st.sampled_from(words))
                text = text[: word.start()] + other[0] + text[word.end() :]
            case 4:
                lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
                text = "\n".join(lines)
            case _:
                rest = draw(st.sampled_from(TEXTS)).split("\n")
                text = "\n".join(lines[: draw(st.integers(0, len(lines)))] + rest[draw(st.integers(0, len(rest))) :])
    return text


def valued(node):
    """What the format allows at a place, and now and then what it does not."""
    wrong = st.sampled_from([None, -1, 10**30, 1.5, "x", "../x", True, [], {}, [[]], {"name": "x"}])
    if "enum" in node:
        right = st.sampled_from(node["enum"])
    elif node.get("type") == "object":
        known = {name: valued(child) for name, child in node.get("properties", {}).items()}
        needed = {name: known.pop(name) for name in node.get("required", ())}
        right = st.fixed_dictionaries(needed, optional=known)
        if isinstance(more := node.get("additionalProperties"), dict):
            names = st.sampled_from(node.get("propertyNames", {}).get("enum", ["a", "b", "trial/*", "*/x"]))
            right = st.dictionaries(names, valued(more), min_size=1, max_size=2)
    elif node.get("type") == "array":
        right = st.lists(valued(node["items"]), min_size=node.get("minItems", 0), max_size=2)
    elif node.get("type") == "boolean":
        right = st.booleans()
    elif node.get("type") == "integer":
        right = st.integers(node.get("minimum", 0), min(node.get("maximum", 9), node.get("minimum", 0) + 9))
    elif node.get("type") == "number":
        right = (
            st.floats(node.get("minimum", 0.1), node.get("maximum", 0.4), exclude_min=False)
            if node.get("maximum", 9) > 0.4
            else st.just(0.1)
        )
    else:
        right = st.sampled_from(["good", "digits", "fgsm", "a", "resnet20/bp", "darts-a"])
    return st.integers(0, 60).flatmap(lambda chance: right if chance else wrong)


@settings(max_examples=2 * FUZZED, deadline=None, derandomize="BIONAS_FUZZED" not in os.environ, suppress_health_check=list(HealthCheck))
@given(mutated())
def test_a_mutated_definition_is_planned_or_refused_in_a_line(text):
    planned_or_one_line(text)


@settings(max_examples=FUZZED, deadline=None, derandomize="BIONAS_FUZZED" not in os.environ, suppress_health_check=list(HealthCheck))
@given(st.deferred(lambda: valued(schema.schema())))
def test_a_definition_by_the_format_is_planned_or_refused_in_a_line(raw):
    planned_or_one_line(yaml.safe_dump(raw))


@settings(
    max_examples=max(2, FUZZED // 50),
    deadline=None,
    derandomize="BIONAS_FUZZED" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
@given(mutated())
def test_a_command_refuses_one_in_a_line_and_leaves_nothing_behind(text):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        command = [sys.executable, "-m", "suite.plan", "x.yaml"]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
        )
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr
        if done.returncode:
            assert re.fullmatch(r"suite\.plan: x\.yaml: [^\n]+\n", done.stderr) and not done.stdout
        assert [file.name for file in Path(folder).iterdir()] == ["x.yaml"]


def chained(first, link):
    """Each line repeats the one before ten times."""
    return f"a: &a {first}\n" + "".join(
        f"{here}: &{here} {link.format(','.join(['*' + before] * 10))}\n" for before, here in pairwise("abcdefghi")
    )


SEEDS = ", ".join(map(str, range(19_000)))
BOMBS = {
    "aliases of aliases": (chained("[x]", "[{}]") + GOOD.replace("about: a definition", "about: *i"), "more than 20000 values"),
    "merged aliases of aliases": (chained("{k: 1}", "{{<<: [{}]}}") + GOOD, "more than 20000 values"),
    "a list that holds itself": (GOOD.replace("[0, 1]", "&a [*a]"), "line 5: holds itself, by an alias"),
    "a mapping that takes itself over": (GOOD.replace("{epochs: 3}", "&a {<<: *a}"), "holds itself"),
    "an abyss that is closed": (GOOD.replace("[0, 1]", "[" * 900 + "]" * 900), "nested too deeply"),
    "more than a text": (GOOD + "# " + "x" * 2**20, "at most 1 MiB"),
    "a number of many digits": (GOOD.replace("[0, 1]", "[" + "9" * 5000 + "]"), "line 5: a number of 5000 characters"),
    "a number in hexadecimal": (GOOD.replace("[0, 1]", "[0x" + "F" * 5000 + "]"), "line 5: a number of 5002 characters"),
    "a number by the hour": (GOOD.replace("[0, 1]", "[" + ":".join(["59"] * 5000) + "]"), "line 5: a number of"),
    "no date": (GOOD.replace("[0, 1]", "[2001-99-99]"), "line 5: '2001-99-99' is no timestamp"),
    "no truth": (GOOD.replace("[0, 1]", "[!!bool maybe]"), "line 5: 'maybe' is no bool"),
    "no character": (GOOD.replace("[0, 1]", "[\0]"), "line 5: U\\+0000 is no character"),
    "seeds without end": (GOOD.replace("[0, 1]", f"[{SEEDS}, {SEEDS}]"), "more than 20000 values"),
    "attacks without end": (
        GOOD.replace("[fgsm]", f"[{{name: pgd, eps: [{'1, ' * 200}2], steps: [{'1, ' * 200}2]}}]"),
        "stands for 40401 attacks, one for each combination; allowed: at most 1000",
    ),
    "an alias without end": (GOOD.replace("[0, 1]", f"[*{'x' * 9000}]"), r"line 5: found undefined alias 'x{60,79}…"),
    "a number's place taken": (GOOD.replace("[fgsm]", f"[{{name: pgd, steps: {'x' * 9000}}}]"), r"steps: 'x{60,79}… does not fit"),
    "a name without end": (GOOD.replace("[fgsm]", f"[{'x' * 100_000}]"), "is unknown; allowed: "),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_definition_that_would_take_all_memory_or_time_is_one_line(bomb):
    text, words = BOMBS[bomb]
    assert text != GOOD and re.search(words, planned_or_one_line(text))


def test_a_file_that_is_no_definition_is_not_read_to_its_end():
    with pytest.raises(ValueError, match=r"/dev/zero: allowed: a definition of at most 1 MiB"):
        spec.read("/dev/zero")


def test_more_runs_than_a_plan_may_have_are_refused_before_they_are_all_made(monkeypatch):
    monkeypatch.setattr(expand, "MOST", 50)
    monkeypatch.setattr(expand, "MOST_TRIED", 50)
    seeds = GOOD.replace("[0, 1]", str(list(range(25))))
    assert planned_or_one_line(seeds) == ""  # under two rules
    for text in (seeds.replace("[resnet20]", "[resnet20, resnet56]"), GOOD.replace("[0, 1]", str(list(range(51))))):
        assert "more than 50 searches or trials" in planned_or_one_line(text)
    tune = f"tune: {{lr: {[i / 10 for i in range(1, 4)]}, seeds: {list(range(17))}}}"
    assert "tune: 3 rates with 17 seeds" in planned_or_one_line(seeds.replace("{epochs: 3}", f"{{epochs: 3}}\n  {tune}"))
