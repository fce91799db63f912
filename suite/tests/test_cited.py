"""What others cite: the version of CITATION.cff is the package's."""

from pathlib import Path

import yaml

import bionas


def test_the_citation_is_of_this_version_under_this_licence():
    cited = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == bionas.__version__
    assert cited["license"] == "MIT"
