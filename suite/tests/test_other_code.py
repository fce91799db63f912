"""A rule's formula is edited after a finished run: in a copy of the sources, by Snakemake for real."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from suite import store

ROOT = Path(__file__).parents[2]
DEFINITION = (
    "{name: one, about: other code, datasets: [digits], device: cpu, attacks: {names: [fgsm], images: 2}, "
    "models: {names: [resnet20], rules: [fa], settings: {epochs: 1, batch_size: 256}}}"
)


class Checkout:
    """A copy of the sources, and results beside it."""

    def __init__(self, folder):
        self.source, self.work = folder / "source", folder / "work"
        for name in ("bionas", "suite", "data_prep", "reports", "profiles"):
            shutil.copytree(ROOT / name, self.source / name, ignore=shutil.ignore_patterns("__pycache__", "tests"))
        shutil.copy(ROOT / "Snakefile", self.source)
        self.work.mkdir()
        (self.work / "one.yaml").write_text(DEFINITION)

    def edit(self, file, old, new):
        text = (self.source / file).read_text()
        assert old in text
        (self.source / file).write_text(text.replace(old, new, 1))

    def command(self, *args):
        environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(self.source), "HOME": str(self.work)}
        return subprocess.run([sys.executable, "-m", *args], capture_output=True, text=True, timeout=400, cwd=self.work, env=environment)

    def snakemake(self, *args):
        """The line, and more; return what is said of other code, and the rules that ran."""
        done = self.command(
            "snakemake", "--snakefile", f"{self.source}/Snakefile", "--cores", "2", "--config", "benchmark=one.yaml", "size=tiny", *args
        )
        assert done.returncode == 0, done.stderr
        said = [line for line in done.stderr.replace("\n  ", " ").splitlines() if "other code" in line]
        ran = re.findall(r"^(?:\[ *\d+/\d+\]|(?:local)?rule) (\w+)", done.stdout + done.stderr, re.MULTILINE)
        return said, set(ran) - {"all"}

    @property
    def report(self):
        page = (self.work / "results/one-tiny/report.html").read_text()
        return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)

    def digests(self):
        return {store.read(file).stage: store.digest(file) for file in (self.work / "results/runs").rglob("*.h5")}


def test_no_result_of_other_code_is_passed_off_as_this_ones(tmp_path):
    checkout = Checkout(tmp_path)
    said, ran = checkout.snakemake()
    assert said == [] and {"train", "evaluate", "collect"} <= ran
    assert "†" not in checkout.report

    # A plain refactoring of the attacks concerns evaluations alone: named, marked, and nothing is thrown away.
    checkout.edit("bionas/attacks/outcomes.py", "\n\ndef ", "\n\nUNUSED = 1\n\n\ndef ")
    (line,), ran = checkout.snakemake()
    assert line.startswith("1 finished run was made by other code than this: trial/digits/resnet20/fa/") and "/evaluation" in line
    assert ran == {"collect", "render", "parts", "check"}
    assert "1 of 2 runs were made by another version of the code" in checkout.report and "†" in checkout.report
    assert "code=equal size=tiny" in line and "code=equal size=tiny" in checkout.report
    _, ran = checkout.snakemake("code=equal", "--dry-run")
    assert "evaluate" in ran and "train" not in ran

    # One command confirms it: these results are tiny ones themselves, so that the old code need not run again.
    done = checkout.command("suite.confirm", "one.yaml", "--size", "tiny", "--reference", "results/one-tiny/metrics.h5")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 finished runs accepted" in done.stdout
    said, ran = checkout.snakemake("code=equal")
    assert said == [] and ran == {"collect", "render", "parts", "check"} and "†" not in checkout.report

    # A formula concerns both, and moves numbers: the flag makes them anew, once, whatever Snakemake remembers of them.
    before = checkout.digests()
    checkout.edit(
        "bionas/rules/table.py", "def _random(W: Tensor, R: Tensor) -> Tensor:\n    return R", "def _random(W, R):\n    return 2 * R"
    )
    shutil.rmtree(checkout.work / ".snakemake/metadata")
    (line,), ran = checkout.snakemake("code=equal")
    assert line.startswith("2 finished runs were made by other code") and line.endswith("; they are made anew")
    assert {"train", "evaluate", "collect"} <= ran and "†" not in checkout.report
    assert checkout.digests()["train"] != before["train"]
    assert checkout.snakemake("code=equal") == ([], set())
