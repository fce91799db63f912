"""A browser for every test of the page that asks for one: one of them a process."""

from reports.tests.browser import chromium, opened

__all__ = ["chromium", "opened"]
