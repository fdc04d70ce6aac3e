"""Check every state of the page with axe-core, light and dark, in both languages, from 320 to 1280 pixels."""

import re
from importlib.resources import files
from importlib.util import find_spec
from unittest.mock import Mock

import optional
import pytest
from page_helpers import LONG, SLOWLY, expect_status, generate, show_surprisal, wait_for_characters
from web_helpers import wait_for

from minichar.web.errors import Unavailable

expect = optional.playwright().expect

if find_spec("axe_playwright_python") is None:
    optional.missing("axe-playwright-python")
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
RUN = """async () => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    const { violations } = await axe.run(document, { runOnly: tags });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
}"""


VARIANTS = {
    name: {"color_scheme": scheme, "locale": locale, "viewport": {"width": width, "height": 800}}
    for name, scheme, locale, width in (
        ("phone", "light", "en", 320),
        ("phone-zh", "dark", "zh-CN", 320),
        ("desktop-zh", "dark", "zh-CN", 1280),
    )
} | {"forced-colors": {"forced_colors": "active", "locale": "en"}}


def check(page):
    """Fail if axe finds a violation, or if the page is wider than the screen."""
    page.evaluate(AXE)
    assert page.evaluate(RUN) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("variant", ["phone", "desktop-zh", "forced-colors"])
def test_no_state_has_violations(visit, port, demo, monkeypatch, variant):
    options = VARIANTS[variant]
    page, locale = visit(port, **options), options["locale"]
    reached = {"en": "100 characters", "zh-CN": "100 个字符"}[locale]
    wait_for_characters(page, 1)  # of the example
    generate(page, "山", 100, temperature=1)
    expect_status(page, reached)
    check(page)  # more settings are open
    page.click("#more summary")
    show_surprisal(page, 100)
    check(page)
    page.click("#text [data-i='20']")
    expect(page.locator("#card")).to_be_visible()
    check(page)
    page.locator("#card button").nth(1).click()
    expect_status(page, reached)
    page.check("#compare")
    expect(page.locator("#other-status")).to_contain_text(reached)
    check(page)
    page.click("#text [data-i='20']")
    page.keyboard.type("rain")
    expect(page.locator("#reading")).to_have_text(re.compile("Suggestion|续写建议"))
    check(page)
    page.keyboard.press("Tab")
    page.uncheck("#compare")
    page.click("#history summary")
    expect(page.locator("#texts button")).to_have_count(4)
    check(page)
    page.fill("#prime", "☃")
    page.click("#generate")
    expect(page.locator("#status")).to_have_class("error")
    check(page)
    monkeypatch.setattr(demo, "_per_worker", 0)
    generate(page)
    expect_status(page, {"en": "Position in the queue: 1.", "zh-CN": "第 1 位"}[locale])
    check(page)
    monkeypatch.setattr(demo, "position", Mock(side_effect=Unavailable("no worker")))
    expect_status(page, {"en": "No worker is running", "zh-CN": "没有正在运行的工作进程"}[locale])
    check(page)
    page.click("#stop")
    expect_status(page, {"en": "Stopped", "zh-CN": "已停止"}[locale])
    check(page)


@SLOWLY
@pytest.mark.parametrize("variant", ["phone", "phone-zh"])
def test_interrupted_states_have_no_violations(visit, port, variant):
    options = VARIANTS[variant]
    page, locale = visit(port, **options), options["locale"]
    generate(page, "山", LONG, temperature=1)
    expect(page.locator("#text .known").nth(50)).to_be_attached()
    page.click("#text [data-i='20']")
    expect(page.locator("#text")).to_have_attribute("aria-busy", "true")
    check(page)
    page.route("**/api/generate", lambda route: route.abort())
    generate(page)
    expect_status(page, {"en": "Connection lost", "zh-CN": "连接已断开"}[locale])
    check(page)
    held = []
    page.route("**/api/models", lambda route: held.append(route), times=1)
    page.reload()
    wait_for(lambda: held or page.wait_for_timeout(20))
    check(page)
    held[0].fulfill(status=401, body="x")
    expect_status(page, {"en": "API key", "zh-CN": "API 密钥"}[locale])
    check(page)
    page.reload()
    expect(page.locator("#model option")).not_to_have_count(0)
    check(page)
    page.evaluate("location.hash = 's=1&u=null'")
    expect_status(page, {"en": "The link or a setting is invalid", "zh-CN": "无效"}[locale])
    check(page)


def shown_without_scripts(route):
    """Return the page as a browser without scripts shows it. axe is a script, so scripts stay enabled."""
    html = route.fetch().text().replace("noscript>", "div>").replace('class="scripted"', "hidden")
    route.fulfill(body=html.replace('src="page.js"', ""), content_type="text/html")


@pytest.mark.parametrize(("scheme", "width"), [("light", 320), ("dark", 1280)])
def test_pages_without_javascript_have_no_violations(visit, port, scheme, width):
    page = visit(port, color_scheme=scheme, viewport={"width": width, "height": 700})
    page.route("**/", shown_without_scripts)
    for path in ("", "plain?prime=山", "plain?model=none"):
        page.goto(f"http://127.0.0.1:{port}/{path}")
        expect(page.locator("button:visible")).to_have_text("Generate 生成")
        check(page)
