"""What the page carries beside its text: styles and scripts, ours and those in vendor/, and the policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import vl_convert
from markupsafe import Markup

HERE = Path(__file__).parent


# What vega-interpreter imports of vega-util, which the bundle keeps to itself.
UTIL = """const isString = (value) => typeof value === "string";
const ascending = (a, b) => (a == null || a < b ? (b == null ? 0 : -1) : b == null || a > b ? 1 : 0);
const functions = Object.getOwnPropertyNames(Object.prototype).filter((name) => typeof Object.prototype[name] === "function");
const DisallowedObjectProperties = new Set([...functions, "__proto__"]);"""


@cache
def vega() -> str:
    """Return the library that draws the interactive charts, as the converter of the static ones has it; only its name is left outside."""
    return f"(() => {{{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}}})();"


@cache
def interpreter() -> str:
    """Return what lets it evaluate expressions without `eval`: a module, made a script."""
    text = (HERE / "vendor/vega-interpreter.js").read_text(encoding="utf-8")
    text = re.sub(r"^import \{[^}]*\} from 'vega-util';$", lambda _: UTIL, text, flags=re.MULTILINE)
    text = re.sub(r"^export \{ (\w+) as expressionInterpreter \};$", r"window.vegaInterpreter = \1;", text, flags=re.MULTILINE)
    return f"(() => {{\n{text}\n}})();"


STYLES = ("style.css", "tables.css", "charts.css", "compare.css", "runs.css")
# Files, and what makes a script's text.
SCRIPTS: tuple[str | Callable[[], str], ...] = (
    "page.js",
    "vendor/dataTables.min.js",
    "runs.js",
    "tables.js",
    vega,
    interpreter,
    "charts.js",
)


def styles() -> Markup:
    """Return the content of the page's <style>."""
    return Markup("\n".join((HERE / name).read_text(encoding="utf-8") for name in STYLES))


def scripts() -> list[Markup]:
    """Return the content of every <script>, in order."""
    texts = [(HERE / one).read_text(encoding="utf-8") if isinstance(one, str) else one() for one in SCRIPTS]
    return [Markup(text.replace("</script", "<\\/script")) for text in texts]


def policy(found: list[Markup]) -> str:
    """Return the content security policy: nothing is fetched, and no script runs but these."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
