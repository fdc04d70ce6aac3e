"""Take the screenshots of the web demo for docs/web.md: ``python docs/measured/page.py cv``.

The command-line argument is a checkpoint of a model trained on Shakespeare's plays, or a directory of such
checkpoints. The script requires the ``web-test`` extra, pytest and Chromium.
"""

import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser

DOCS = Path(__file__).parents[1]
sys.path.append(str(DOCS.parent / "tests"))
from optional import chromium  # noqa: E402

NAMES = {"light": "page.png", "dark": "page-dark.png"}
FIELDS = {"prime": "ROMEO:\n", "temperature": "0.7", "length": "900", "seed": "7"}
CHOSEN = 15
"""Index of the character to hover over in order to show its alternatives."""


def take(browser: Browser, address: str, scheme: str) -> None:
    """Generate text on the web page, in the light or dark colour scheme, and save a screenshot."""
    page = browser.new_page(viewport={"width": 1120, "height": 700}, color_scheme=scheme, locale="en")
    page.goto(address)
    page.click("#more summary")
    for name, value in FIELDS.items():
        page.fill(f"#{name}", value)
    page.click("#generate")
    page.get_by_text("Finished").wait_for()
    page.click("#more summary")
    page.evaluate("scrollTo(0, 0); document.getElementById('text').scrollTo(0, 0)")
    page.locator("#text .known").nth(CHOSEN).hover()
    page.wait_for_timeout(500)
    page.screenshot(path=DOCS / NAMES[scheme])


def main() -> None:
    """Serve the model and take a screenshot in each colour scheme."""
    serve = [sys.executable, "-m", "minichar", "serve", sys.argv[1], "--port", "0"]
    server = subprocess.Popen(serve, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        assert server.stderr is not None
        address = next(filter(None, (re.search(r"http://[\d.:]+/", line) for line in server.stderr)))[0]
        with chromium() as browser:
            for scheme in NAMES:
                take(browser, address, scheme)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
