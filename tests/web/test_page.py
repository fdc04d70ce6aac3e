"""The page, in a real browser."""

import os
import re
import shutil
import signal

import pytest
from visiting import asked, free_port, missing, patiently

from minichar import Choice, generate

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    if "CI" in os.environ:
        raise
    pytest.skip("no playwright here", allow_module_level=True)

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")

SLOW = 20000


@pytest.fixture(scope="module")
def chromium():
    program = next(filter(None, map(shutil.which, PROGRAMS)), None) or missing("Chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open the page; whatever it fetches comes from its own server, and nothing in it goes wrong."""
    problems, contexts = [], []

    def visit(port, link="", **options):
        desk = {"viewport": {"width": 1200, "height": 800}, "locale": "en"}
        context = chromium.new_context(**desk | options)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        origin = f"http://127.0.0.1:{port}/"
        page.on("request", lambda r: r.url.startswith(origin) or problems.append(r.url))
        page.on("pageerror", lambda error: problems.append(error))
        page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
        page.goto(origin + link)
        expect(page.locator("#model option").first).to_be_attached()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []


def write(page, prime="", length=300, seed=5, **others):
    for name, value in {"prime": prime, "length": length, "seed": seed, **others}.items():
        page.fill(f"#{name}", str(value))
    page.click("#write")


def text_of(page):
    """What was written after the prime."""
    return page.locator("#text").text_content().removeprefix(page.locator("#text .prime").text_content())


def long(page, n):
    """Wait until so many characters are there."""
    patiently(lambda: page.locator("#text [data-i]").count() >= n)


def ended(page, words="As long as you wished"):
    expect(page.locator("#status")).to_contain_text(words, timeout=30000)


def sampled(model, n, prime="", seed=5, temperature=0.8):
    return "".join(generate(model.exact(), n, prime, seed, ["\n" * 5], choice=Choice(temperature)))


def test_a_chinese_beginning_stop_continue(visit, serve, model):
    page = visit(serve().found[1])
    write(page, "山中", SLOW)
    long(page, 200)
    page.click("#stop")
    ended(page, "Stopped")
    n = len(text_of(page))
    assert 200 <= n < SLOW
    page.wait_for_timeout(300)
    assert len(text_of(page)) == n
    page.click("#continue")
    long(page, n + 500)
    page.click("#stop")
    text = text_of(page)
    assert text == sampled(model, len(text), "山中")
    assert page.locator("#text .prime").text_content() == "山中"


def test_a_finished_text_goes_on(visit, serve, model):
    page = visit(serve().found[1])
    write(page, "a", 100)
    ended(page)
    page.fill("#length", "150")
    page.click("#continue")
    long(page, 250)
    ended(page)
    assert text_of(page) == sampled(model, 250, "a")
    write(page, "a", 2000, until="山")
    ended(page, "The stop text came")
    assert text_of(page) == sampled(model, 2000, "a").partition("山")[0]
    page.click("#continue")
    long(page, 2000)
    assert text_of(page) == sampled(model, 2000, "a")
    page.click("#copy")
    ended(page, "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "a" + text_of(page)


def test_surprise_and_a_branch(visit, serve, model):
    page = visit(serve().found[1])
    write(page, "山", 200)
    ended(page)
    assert page.locator("#text .known").count() == 0
    page.check("#surprise")
    expect(page.locator("#text .known")).to_have_count(200)
    page.hover("#text [data-i='30']")
    card = page.locator("#card")
    expect(card).to_be_visible()
    expect(card.locator("button")).to_have_count(5)
    before = text_of(page)
    names = [button.locator(".char").text_content() for button in card.locator("button").all()]
    percents = [
        float(button.locator(".percent").text_content().split()[0]) for button in card.locator("button").all()
    ]
    assert percents == sorted(percents, reverse=True)
    other = next(i for i, name in enumerate(names) if name != before[30] and name not in "↵␣")
    page.click("#text [data-i='30']")
    card.locator("button").nth(other).click()
    ended(page)
    text = text_of(page)
    assert text[:31] == before[:30] + names[other]
    assert len(text) == 200
    assert text[31:] != before[31:]
    expect(page.locator("#text .branch")).to_have_text(names[other])
    expect(page.locator("#text .known")).to_have_count(200)


def test_a_link_gives_the_same_text(visit, serve, model):
    port = serve().found[1]
    page = visit(port)
    write(page, "山 a", 300, temperature=0.6)
    ended(page)
    page.check("#surprise")
    expect(page.locator("#text .known")).to_have_count(300)
    page.click("#text [data-i='100']")
    page.locator("#card button").last.click()
    ended(page)
    page.click("#share")
    ended(page, "The link is copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    other = visit(port, f"#{link.partition('#')[2]}", locale="zh-CN")
    ended(other, "已写到所需长度")
    assert text_of(other) == text_of(page)
    assert other.input_value("#temperature") == "0.6"


@pytest.mark.parametrize("link", ["#", "#s=x", "#s=1&b={", "#s=1&b=[[1]]&m=../x", "#s=1&t=99", "#<script>"])
def test_a_link_that_is_none(visit, serve, link):
    page = visit(serve().found[1], link)
    page.wait_for_timeout(300)
    write(page, "a", 30, temperature=1)
    ended(page)
    assert len(text_of(page)) == 30


def test_tags_are_text(visit, serve):
    """Given, and written."""
    branches = "[" + ",".join(f'[{i},"{c}"]' for i, c in enumerate("<script>a.a.a</script>")) + "]"
    page = visit(serve().found[1], f"#s=5&n=60&p=<script>&u=[]&b={branches}")
    ended(page)
    assert text_of(page).startswith("<script>a.a.a</script>")
    assert page.locator("#text script").count() == 0
    page.check("#surprise")
    expect(page.locator("#text .known")).to_have_count(60)
    page.hover("#text [data-i='0']")
    assert page.locator("main script, #card script").count() == 0


def test_by_keyboard_alone(visit, serve):
    page = visit(serve().found[1])
    page.focus("#prime")
    page.keyboard.type("山")
    page.fill("#length", "60")
    page.press("#length", "Enter")
    ended(page)
    page.focus("#surprise")
    page.keyboard.press("Space")
    expect(page.locator("#text .known")).to_have_count(60)
    page.focus("#text")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#text .at")).to_have_attribute("data-i", "2")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#card button").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    ended(page)
    assert page.locator("#text .branch").count() == 1


def test_two_languages_and_a_phone(visit, serve):
    port = serve("cv").found[1]
    page = visit(port, viewport={"width": 360, "height": 740}, locale="zh-CN", has_touch=True)
    expect(page.locator("#write")).to_have_text("开始")
    assert page.locator("html").get_attribute("lang") == "zh"
    page.click("#language")
    expect(page.locator("#write")).to_have_text("Write")
    assert not page.locator("[data-word]:empty").count()
    expect(page.locator("#model option")).to_have_count(2)
    write(page, "山", 200)
    ended(page)
    page.check("#surprise")
    expect(page.locator("#text .known")).to_have_count(200)
    page.tap("#text [data-i='199']")
    expect(page.locator("#card")).to_be_visible()
    page.wait_for_timeout(300)
    size = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert size[0] <= size[1]
    character = page.locator("#text [data-i='199']").bounding_box()
    card = page.locator("#card").bounding_box()
    assert character["y"] + character["height"] < card["y"] or card["y"] + card["height"] < character["y"]
    for button in page.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 40


def test_what_the_model_does_not_know_is_told(visit, serve):
    page = visit(serve().found[1])
    write(page, "a☃")
    expect(page.locator("#status")).to_contain_text("U+2603")
    expect(page.locator("#status")).to_have_class("wrong")
    write(page, "a", 20)
    ended(page)


def test_a_visitor_who_leaves(visit, serve):
    port = serve().found[1]

    def writing():
        with asked(port, "GET", "/metrics") as response:
            return int(float(re.search(r'texts{state="writing"} (\S+)', response.read().decode())[1]))

    page = visit(port)
    write(page, "a", SLOW)
    long(page, 10)
    assert writing() == 1
    page.close()
    patiently(lambda: writing() == 0, 8)


def test_a_server_that_is_restarted(visit, serve, model):
    """It forgot everything, and the page asks for the rest of the same text."""
    port = free_port()
    server = serve(port=port)
    page = visit(port)
    write(page, "山", 6000)
    long(page, 100)
    server.send_signal(signal.SIGKILL)
    server.wait()
    ended(page, "The connection is lost")
    serve(port=port)
    ended(page)
    assert text_of(page) == sampled(model, 6000, "山")


def test_a_worker_that_is_killed(visit, serve, work, redis_url, folder, model):
    first = work("--pace", 4000, folder / "lm_lstm_epoch1.00_1.2345.npz")
    page = visit(serve("--redis", redis_url).found[1])
    write(page, "山", SLOW)
    long(page, 100)
    work("--pace", 4000, folder)
    first.kill()
    ended(page, "A worker died")
    ended(page)
    assert text_of(page) == sampled(model, SLOW, "山")
