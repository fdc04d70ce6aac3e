"""Programs that some tests need. A test is skipped if its program is missing, except in CI."""

import os
import shutil
from contextlib import contextmanager

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")


def missing(what):
    """Skip the test, or fail it in CI, where all dependencies must be installed."""
    if "CI" in os.environ:
        pytest.fail(f"{what} must be installed in CI")
    pytest.skip(f"{what} is not installed")


@contextmanager
def chromium():
    """Start Chromium and yield the browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    program = next(filter(None, map(shutil.which, CHROMIUM)), None) or missing("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
