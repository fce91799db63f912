"""What the page carries: scripts of others as they were published, and a policy that lets nothing else run."""

import hashlib
import re

from reports.page import assets


def test_the_files_of_others_are_those_that_were_looked_at():
    listed = dict(
        re.findall(r"^\| (\S+\.(?:js|css)) \|.* ([0-9a-f]{64}) \|$", (assets.HERE / "vendor/README.md").read_text(), re.MULTILINE)
    )
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (assets.HERE / "vendor").glob("*.[jc]s*")}
    assert found == listed
    assert found


def test_the_policy_names_every_script_and_allows_no_other_source():
    policy = assets.policy(assets.scripts())
    assert policy.startswith("default-src 'none'; ")
    assert policy.count("sha256-") == len(assets.SCRIPTS)
    assert "http" not in policy
    assert "unsafe-eval" not in policy


def test_what_was_a_module_is_a_script():
    assert all("</script" not in script for script in assets.scripts())
    text = assets.interpreter()
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE) and "window.vegaInterpreter = " in text and "vega-util" not in text
