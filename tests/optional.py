"""Programs and packages that some tests need. Without them, these tests are skipped or, in CI, fail."""

import os
import shutil
import socket
import sys
from contextlib import contextmanager
from importlib import import_module

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def missing(what):
    """Skip the test, or fail it in CI, where all dependencies must be installed. End a script."""
    if "PYTEST_VERSION" not in os.environ:
        sys.exit(f"{what} is not installed")
    if "CI" in os.environ:
        pytest.fail(f"{what} must be installed in CI")
    pytest.skip(f"{what} is not installed", allow_module_level=True)


def free_port():
    """Return an unused TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def playwright():
    """Return Playwright's API, with a timeout long enough for a busy machine."""
    try:
        api = import_module("playwright.sync_api")
    except ImportError:
        missing("playwright")
    api.expect.set_options(timeout=30_000)
    return api


@contextmanager
def chromium():
    """Start Chromium."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None) or missing("Chromium")
    with playwright().sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
