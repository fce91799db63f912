"""The page's frame in a real browser: contents that follow, light and dark, what links open, paper, and all of it without script."""

import pytest

from reports import render
from reports.tests.browser import eventually
from reports.tests.test_claims import named
from reports.tests.test_reports import TRIALS, metrics, search, trial

__all__ = ["metrics"]  # the fixture

pytestmark = pytest.mark.browser
WIDTHS = (360, 800, 1280, 1920)


@pytest.fixture
def shown(opened, metrics, tmp_path):
    """A way to open one report; at the end it may not have complained."""
    trials = [*TRIALS, *(trial(rule, seed, 3.0 + seed, parent="darts") for rule in ("searched", "shuffled") for seed in range(2))]
    file = tmp_path / "report.html"
    render.main([str(metrics(trials, searches=[search(0), search(1)], comparisons=[named()])), str(file)])
    return lambda width=1280, **more: opened(file, width=width, height=800, **more)


def background(page):
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


WHITE = "rgb(255, 255, 255)"


def contrasts(page):
    """Return the least contrast of text with what lies behind it (WCAG 2), and whose."""
    return page.evaluate(
        """() => {
        const lum = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
          .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const behind = (at) => {
          const layers = [];
          for (; at; at = at.parentElement) {
            const [r, g, b, a = 1] = parse(getComputedStyle(at).backgroundColor);
            if (a) layers.push([r, g, b, a]);
            if (a === 1) break;
          }
          return layers.reverse().reduce((under, [r, g, b, a]) => [r, g, b].map((c, i) => c * a + under[i] * (1 - a)), [255, 255, 255]);
        };
        let least = [99, ""];
        for (const at of document.querySelectorAll("body *")) {
          const text = [...at.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join("");
          if (!text || at.closest("svg, script, details:not([open]) > :not(summary)") || !at.offsetParent) continue;
          const [one, other] = [lum(parse(getComputedStyle(at).color)), lum(behind(at))];
          const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
          if (ratio < least[0]) least = [ratio, `${at.tagName}.${at.className}: ${text.slice(0, 40)}`];
        }
        return least;
      }"""
    )


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_page_and_all_text_can_be_read(shown, script, scheme):
    for width in WIDTHS:
        page = shown(width, color_scheme=scheme, java_script_enabled=script)
        if script:
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), width
            least, whose = contrasts(page)
            assert least >= 4.5, whose
        assert page.locator("main h2:visible").count() >= 6
        assert page.locator("#theme").is_visible() == script
        prose = page.locator("p.lead").first.bounding_box()
        assert prose["width"] <= 78 * 10  # 78 characters of 15 pixels


def test_the_theme_goes_from_the_systems_to_light_to_dark_and_is_remembered(shown):
    page = shown(color_scheme="dark")
    assert background(page) != WHITE
    button = page.get_by_role("button", name="Theme")
    button.focus()
    page.keyboard.press("Enter")
    assert button.inner_text() == "Theme: light" and background(page) == WHITE
    page.reload()
    assert background(page) == WHITE and page.locator("html").get_attribute("data-theme") == "light"
    button.click()
    assert button.inner_text() == "Theme: dark" and background(page) != WHITE
    button.click()
    assert button.inner_text() == "Theme: auto" and page.locator("html").get_attribute("data-theme") is None


def test_without_storage_there_is_no_error_and_the_choice_holds_for_the_page(shown):
    page = shown()
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('denied', 'SecurityError'); } })")
    page.reload()
    for _ in range(2):
        page.locator("#theme").click()
    assert background(page) != WHITE


def under_the_bar(page, name, width):
    """Whether a section's heading is right under the contents (or beside them), and its link in sight."""
    heading = page.locator(f"#{name.lower()}").bounding_box()
    bar = page.locator("#contents").bounding_box()
    link = page.locator("#contents [aria-current]").bounding_box()
    over = bar["y"] + bar["height"] if width < 1740 else 0
    return over <= heading["y"] < 400 and link["x"] >= 0 and link["x"] + link["width"] <= width


@pytest.mark.parametrize("width", [360, 1280, 1920])
def test_contents_follow_what_is_read_and_their_links_lead_under_the_bar(shown, width):
    page = shown(width)
    current = page.locator("#contents [aria-current]")
    for name in ("Accuracy", "Robustness", "Findings"):
        page.locator("#contents a", has_text=name).click()
        assert eventually(current.all_text_contents, [name])
        assert eventually(lambda name=name: under_the_bar(page, name, width), True)
    if width == 1920:
        assert page.locator("main").bounding_box()["x"] >= page.locator("#contents").bounding_box()["x"] + 150
        assert page.locator("main").bounding_box()["width"] >= 1450


def test_a_link_opens_whatever_its_target_is_folded_into(shown):
    page = shown()
    page.evaluate("document.querySelector('details:not([open]) table').id = 'deep'")
    assert not page.locator("#deep").is_visible()
    page.evaluate("location.hash = 'deep'")
    page.locator("#deep").wait_for(state="visible")
    page.evaluate("location.hash = '%E0%A4%A'")  # is no address
    page.evaluate("location.hash = 'nowhere'")


def test_the_keyboard_first_meets_the_way_to_the_content(shown):
    page = shown()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"


def test_there_is_one_of_each_landmark_and_a_language(shown):
    page = shown()
    for role in ("banner", "main", "contentinfo", "navigation"):
        assert page.get_by_role(role).count() == 1, role
    assert page.locator("html").get_attribute("lang") == "en" and page.get_by_role("heading", level=1).count() == 1


def test_paper_is_light_and_unfolded_and_afterwards_all_is_as_before(shown):
    page = shown(color_scheme="dark")
    page.locator("#theme").click()
    page.locator("#theme").click()  # dark, whatever the system says
    shut = "main details:not([open]):not(.tools details)"
    folded = page.locator(shut).count()
    page.emulate_media(media="print")
    assert background(page) == WHITE and not page.locator("#contents").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert folded and page.locator(shut).count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(shut).count() == folded
    least, whose = contrasts(page)
    assert least >= 4.5, whose
