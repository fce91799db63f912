"""axe-core on the whole page, tables and interactive charts together: nothing serious stands in anybody's way."""

import pytest

from reports import render
from reports.tests.test_claims import named
from reports.tests.test_reports import TRIALS, metrics, search, trial  # noqa: F401  # a fixture


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_serious_stands_in_the_way(metrics, tmp_path, opened, scheme, width):  # noqa: F811
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    file = tmp_path / "report.html"
    cells = [trial(rule, seed, 3.0 + seed, parent="darts") for rule in ("searched", "shuffled") for seed in range(2)]
    render.main([str(metrics([*TRIALS, *cells], searches=[search(0), search(1)], comparisons=[named()])), str(file)])
    page = opened(file, width=width, color_scheme=scheme)
    charts = page.locator("figure .chart:visible:has(script)")
    for i in range(charts.count()):
        charts.nth(i).scroll_into_view_if_needed()
        charts.nth(i).locator(".panel.live").first.wait_for()
    found = [violation for violation in axe.Axe().run(page).response["violations"] if violation["impact"] in ("serious", "critical")]
    assert [(violation["id"], violation["nodes"][0]["html"]) for violation in found] == []
