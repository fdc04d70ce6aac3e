"""Helpers for tests of the web page."""

import optional
import pytest
from web_helpers import wait_for

expect = optional.playwright().expect
LONG = 20000
"""Number of characters of a text that a test stops."""
SLOWLY = pytest.mark.parametrize("demo", [250], indirect=True, ids=["slow"])
"""Mark of such a test: generating the whole text takes 80 s, so that a busy machine is in time to stop it."""


def generate(page, prime="", length=300, seed=5, **others):
    page.evaluate("document.getElementById('fold').open = document.getElementById('more').open = true")
    for name, value in {"prime": prime, "length": length, "seed": seed, **others}.items():
        page.fill(f"#{name}", str(value))
    page.click("#generate")


def text_of(page):
    """Return the generated text, without the prompt and without the end of the editor."""
    text = page.locator("#text").text_content().replace("\u200b", "")
    return text.removeprefix(page.locator("#text .prime").text_content())


def wait_for_characters(page, n):
    wait_for(lambda: page.locator("#text [data-i]").count() >= n)


def expect_status(page, words="Finished"):
    expect(page.locator("#status")).to_contain_text(words)


def show_surprisal(page, n):
    page.check("#surprisal")
    expect(page.locator("#text .known")).to_have_count(n)


def generated(visit, port, prime="山", n=400, temperature=1, **options):
    """Open the page, and generate a text."""
    page = visit(port, **options)
    generate(page, prime, n, temperature=temperature)
    expect_status(page, "个字符" if options.get("locale") == "zh-CN" else f"{n} character")
    return page


def coloured(visit, port, prime="山", n=400, **options):
    """Open the page, and generate a text whose surprisal is shown."""
    page = generated(visit, port, prime, n, **options)
    show_surprisal(page, n)
    return page
