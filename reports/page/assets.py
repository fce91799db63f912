"""What the page carries beside its text: styles and scripts, ours and those in vendor/, and the policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

HERE = Path(__file__).parent
STYLES = ("style.css", "compare.css")
SCRIPTS: tuple[str, ...] = ()


def styles() -> Markup:
    """Return the content of the page's <style>."""
    return Markup("\n".join((HERE / name).read_text(encoding="utf-8") for name in STYLES))


def scripts() -> list[Markup]:
    """Return the content of every <script>, in order."""
    return [Markup((HERE / name).read_text(encoding="utf-8").replace("</script", "<\\/script")) for name in SCRIPTS]


def policy(found: list[Markup]) -> str:
    """Return the content security policy: nothing is fetched, and no script runs but these."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in found]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) or "'none'"
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {allowed}"
