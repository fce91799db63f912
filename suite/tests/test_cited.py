"""What others cite: the version of CITATION.cff is the package's."""

from pathlib import Path

import yaml

import bionas

ROOT = Path(__file__).parents[2]


def test_the_citation_is_of_this_version_under_this_licence():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == bionas.__version__
    assert cited["license"] == "MIT"


def test_the_readme_cites_the_same():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{{{cited['title']}}}" in readme and f"version = {{{cited['version']}}}" in readme
