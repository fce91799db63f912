"""A real browser for tests of the page: Chromium, what it complains about, and what it fetches."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
WHY_NOT = "needs Chromium" if CHROMIUM is None else ""


def eventually(found: Callable[[], Any], wanted: Any, patience: float = 120.0) -> bool:
    """Whether `found()` becomes `wanted`: a page sorts, unpacks and follows its address a moment after it was told to."""
    end = time.monotonic() + patience
    while (last := found()) != wanted:
        assert time.monotonic() < end, f"{last!r} instead of {wanted!r} after {patience:g} s"
        time.sleep(0.05)
    return True


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; the tests that need it are skipped, with a reason, where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a file, at a state of it behind the #: opened(path, "accuracy", width=1280, color_scheme="dark", java_script_enabled=False).

    What the page complains about or fetches beside itself fails the test at its end.
    """
    contexts: list[Any] = []
    complaints: list[str] = []
    requests: list[str] = []

    def make(path: Path, state: str = "", width: int = 1280, height: int = 900, **options: Any) -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri() + (f"#{state}" if state else ""))
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert len({url.partition("#")[0] for url in requests if url.startswith("file:")}) <= len(contexts)
