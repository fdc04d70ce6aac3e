"""Test a built site in Chromium. The environment variable ``SITE`` specifies its directory."""

import os
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread

import optional
import pytest

if "SITE" not in os.environ:
    pytest.skip("the environment variable SITE is not set", allow_module_level=True)
SITE = Path(os.environ["SITE"]).resolve()
PHONE = {"viewport": {"width": 390, "height": 800}}
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
CUT_OFF = "blocks => blocks.map((block) => block.scrollWidth - block.clientWidth)"
TEXT_SIZES = """texts => texts.map((text) => {
    const {a, b} = text.getScreenCTM();  // text may be rotated
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(a, b);
})"""
DRAWN = "stages => stages.map((stage) => stage.querySelectorAll('svg > *').length)"


class Quiet(SimpleHTTPRequestHandler):
    def handle(self):
        with suppress(ConnectionError):  # the browser may leave a page before it has read all files
            super().handle()

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["http", "file"])
def base(request, address):
    return address if request.param == "http" else SITE.as_uri()


def is_favicon(message):
    """Return whether a console message is about the favicon, which Chromium requests for embedded pages."""
    return "404" in message.text and message.location["url"].endswith("/favicon.ico")


@pytest.fixture
def visit(browser):
    """Return a function that opens a page. Fail at teardown on errors and requests to other servers."""
    problems, contexts = [], []

    def visit(base, name, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(error))
        page.on("console", lambda message: is_favicon(message) or problems.append(message.text))
        page.on(
            "request",
            lambda request: request.url.startswith((base, "data:", "blob:")) or problems.append(request.url),
        )
        page.goto(f"{base}/{name}")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []


def test_landing_page(visit):
    page = visit(SITE.as_uri(), "index.html", **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tagline = page.locator("h1 + p").inner_text()
    assert len(tagline.split()) == 9
    links = [link.get_attribute("href") for link in page.locator(".buttons a").all()]
    assert links == ["start.html", "course/index.html", "zh/start.html"]
    assert len({link.bounding_box()["y"] for link in page.locator(".buttons a").all()}) == 1  # in one row
    page.locator("#interactive-train .sample span").first.wait_for()  # the worker has started
    frame = page.locator("iframe")
    frame.scroll_into_view_if_needed()
    page.frame_locator("iframe").get_by_text("inside quotes").first.wait_for(state="attached")
    assert page.frames[1].evaluate("document.documentElement.scrollWidth") <= 390


def test_options_are_not_broken_between_their_hyphens(visit):
    page = visit(SITE.as_uri(), "course/index.html", **PHONE)
    options = page.locator("article code .pre", has_text="--").all()
    assert len(options) > 1
    assert all(option.evaluate("option => option.getClientRects().length") == 1 for option in options)


def test_a_model_runs_in_a_page_of_the_site(visit):
    page = visit(SITE.as_uri(), "howto/one-page.html", **PHONE)
    page.locator("iframe").scroll_into_view_if_needed()
    page.frame_locator("iframe").get_by_text("400 characters, seed 1").wait_for()
    assert page.frames[1].evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_within_a_page_has_its_theme(address, visit):
    page = visit(address, "howto/one-page.html")
    page.locator("iframe").scroll_into_view_if_needed()
    page.frame_locator("iframe").locator("#generate").wait_for()
    page.frames[1].wait_for_load_state()
    for scheme, theme in product(("light", "dark"), repeat=2):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(f"document.body.dataset.theme = '{theme}'")
        colours = [one.evaluate(BACKGROUND) for one in page.frames]
        assert [sum(map(int, colour[4:-1].split(","))) < 100 for colour in colours] == [theme == "dark"] * 2


AXE_PAGES = (
    "index",
    "course/index",
    "course/11_lstm",
    "howto/loss",
    "one-file",
    "api/index",
    "commands/train",
    "search",
)
"""Pages that together have every kind of content."""


@pytest.mark.parametrize("name", AXE_PAGES)
def test_pages_are_accessible(address, visit, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(address, f"{name}.html")
    page.evaluate("document.fonts.ready")
    for scheme, rules in (("light", None), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)
        result = axe.run(page, options=rules)
        assert result.violations_count == 0, result.generate_report()


LINES = """paragraphs => paragraphs.flatMap((p) => {
  const range = document.createRange(), lines = new Map();
  for (let i = 0; i < p.textContent.length; i++) {
    range.setStart(p.firstChild, i);
    range.setEnd(p.firstChild, i + 1);
    const bottom = Math.round(range.getBoundingClientRect().bottom);
    lines.set(bottom, (lines.get(bottom) || 0) + 1);
  }
  return [...lines.values()].slice(0, -1);
})"""
"""The number of characters in each line of the paragraphs, except their last lines."""


def test_a_line_of_text_has_65_to_75_characters(visit):
    page = visit(SITE.as_uri(), "design.html", viewport={"width": 1440, "height": 900})
    page.evaluate("document.fonts.ready")
    lines = page.locator("article p:not(:has(*))").evaluate_all(LINES)
    assert len(lines) > 5
    assert 65 <= sum(lines) / len(lines) <= 75


def test_chapters_are_small():
    chapters = [*(SITE / "course").glob("*.html")]
    assert len(chapters) > 15
    for chapter in chapters:
        assert chapter.stat().st_size <= 300_000, chapter.name


def test_measurements_are_linked_in_the_repository():
    page = (SITE / "howto" / "sizes.html").read_text(encoding="utf-8")
    assert "https://github.com/minichar/minichar/blob/main/docs/measured/trials/cells.csv" in page


def test_pages_that_link_to_lessons_in_the_repository_link_to_the_chapters_on_the_site():
    for page, *links in (
        ("one-file.html", "course/index.html", "course/11_lstm.html"),
        ("howto/sizes.html", "../course/09_truncation.html"),
        ("zh/start.html", "../course/index.html"),
    ):
        text = (SITE / page).read_text(encoding="utf-8")
        assert all(f'href="{link}"' in text for link in links), page


def test_pages_name_their_language():
    for page, language in (
        ("index", "en"),
        ("howto/chinese", "en"),
        ("zh/start", "zh-CN"),
        ("zh/chinese", "zh-CN"),
    ):
        assert f' lang="{language}"' in (SITE / f"{page}.html").read_text(encoding="utf-8")[:200], page


def test_search_finds_the_chapter_and_quotes_the_phrase(base, visit):
    page = visit(base, "search.html?q=forget+gate")
    first = page.locator("#search-results li").first
    first.wait_for()
    assert first.locator("a").inner_text() == "11. The LSTM, gate by gate"
    if base.startswith("http"):
        first.locator(".context").wait_for()
        assert "forget gate" in first.locator(".context").inner_text()


def test_search_finds_the_guide_to_an_option_first(visit):
    for query, title in (("--reset-on", "Poems, names and messages"), ("follow", "Interpreting the loss")):
        first = visit(SITE.as_uri(), f"search.html?q={query}").locator("#search-results li a").first
        first.wait_for()
        assert first.inner_text() == title


def test_search_finds_an_option_in_the_command_reference_before_pages_that_mention_it(visit):
    page = visit(SITE.as_uri(), "search.html?q=--reset-on")
    page.locator("#search-results a[href^='course/']").first.wait_for()  # the page adds results one by one
    pages = [link.get_attribute("href").split("#")[0] for link in page.locator("#search-results li a").all()]
    assert pages[1:3] == ["commands/sweep.html", "commands/train.html"]
    link = page.locator("#search-results a[href^='commands/train.html#']")
    page.goto(link.evaluate("link => link.href"))  # a click can miss a link that the added results move
    option = page.locator("dt", has_text="--reset-on")
    optional.playwright().expect(option).to_be_in_viewport(timeout=30_000)  # the page scrolls smoothly


def test_search_finds_other_pages_before_the_api_reference(visit):
    page = visit(SITE.as_uri(), "search.html?q=safetensors")
    page.locator("#search-results a[href*='api/']").first.wait_for()  # the page adds results one by one
    targets = [link.get_attribute("href") for link in page.locator("#search-results li a").all()]
    in_api = [target.startswith("api/") for target in targets]
    assert in_api == sorted(in_api)
    assert not in_api[0]


def test_commands_are_copied_without_prompts_and_comments(address, visit):
    page = visit(address, "howto/loss.html", permissions=["clipboard-read", "clipboard-write"])
    copied = []
    for name, block in (("howto/loss", 1), ("formats", 1), ("howto/python", 0)):
        page.goto(f"{address}/{name}.html")
        button = page.locator("button.copybtn").nth(block)
        button.click(force=True)
        page.locator("button.copybtn.success").wait_for()
        copied.append(page.evaluate("navigator.clipboard.readText()"))
    assert [line.rstrip() for line in copied[0].splitlines()] == [
        "minichar eval",
        "minichar eval --data my.txt",
    ]
    assert copied[1].startswith(
        "minichar convert cv/lm_lstm_epoch2.00_1.8000.npz my.safetensors\nminichar sample"
    )
    assert '\n\nmodel = minichar.load("cv")  # a checkpoint' in copied[2]


def test_output_has_no_copy_button(address, visit):
    page = visit(address, "correctness.html")
    page.locator("button.copybtn").first.wait_for()
    assert page.locator("pre").count() == 2
    assert page.locator("button.copybtn").count() == 1


def test_the_screenshot_has_the_colours_of_the_theme(address, visit):
    page = visit(address, "web.html")
    for scheme, name in (("light", "page.png"), ("dark", "page-dark.png")):
        page.emulate_media(color_scheme=scheme)
        shown = [image.get_attribute("src") for image in page.locator("img").all() if image.is_visible()]
        assert shown == [f"_images/{name}"]


def test_on_a_phone_no_equation_of_the_course_is_cut_off_and_every_figure_is_drawn(visit):
    page = visit(SITE.as_uri(), "course/index.html", **PHONE)
    for lesson in (Path(__file__).parent / "lessons").glob("test_*.py"):
        chapter = lesson.stem.removeprefix("test_")
        page.goto(f"{SITE.as_uri()}/course/{chapter}.html")
        cut_off = page.locator("div.equations").evaluate_all(CUT_OFF)
        drawn = page.locator(".stage").evaluate_all(DRAWN)
        assert cut_off
        assert drawn
        assert (max(cut_off) <= 0, min(drawn) > 0) == (True, True), chapter


def test_the_old_address_of_a_chapter_leads_to_the_chapter(visit):
    page = visit(SITE.as_uri(), "course/index.html")
    redirects = [
        path for path in (SITE / "course").glob("*.html") if "refresh" in path.read_text("utf-8")[:200]
    ]
    assert len(redirects) == 5
    for path in redirects:
        page.goto(path.as_uri())
        page.locator("div.equations").first.wait_for()


def test_the_text_of_charts_is_plain_and_legible_on_a_phone(visit):
    """Matplotlib would write labels of logarithmic axes as formulas, which an SVG file cannot show."""
    page = visit(SITE.as_uri(), "performance.html", **PHONE)
    guides = (f"howto/{name}" for name in ("recipes", "sweep", "overfitting"))
    for name in ("performance", "quality", "scale", "design", *guides):
        page.goto(f"{SITE.as_uri()}/{name}.html")
        texts = page.locator("figure.picture svg text")
        assert texts.count() > 5
        assert min(texts.evaluate_all(TEXT_SIZES)) > 9, name
        assert "$" not in "".join(texts.all_text_contents()), name


def test_subscripts_in_figures_are_below_the_line(visit):
    page = visit(SITE.as_uri(), "course/12_gru.html")
    texts = page.locator("svg text").all_text_contents()
    assert {"hprev", "U @ [hprev; 1]", "dh ∘ (hprev − n)", "dur, duz"} <= set(texts)
    assert not [text for text in texts if "_" in text]
    product = page.locator("svg text").nth(texts.index("U @ [hprev; 1]"))
    line, subscript, after = product.evaluate(
        "text => [0, 6, 11].map((i) => text.getStartPositionOfChar(i).y)"
    )
    assert line + 1 < subscript
    assert abs(after - line) < 0.1


def test_ln_is_apart_from_its_argument(visit):
    page = visit(SITE.as_uri(), "howto/loss.html")
    assert page.locator("mi:text-is('ln') + mspace").count() == page.locator("mi:text-is('ln')").count() > 0
