"""Test in Chromium that texts are generated, stopped, continued, compared and shared."""

import json
from base64 import b64encode

import optional
import pytest
from page_helpers import (
    LONG,
    SLOWLY,
    coloured,
    expect_status,
    generate,
    generated,
    show_surprisal,
    text_of,
    wait_for_characters,
)
from web_helpers import wait_for

from minichar.web import texts

expect = optional.playwright().expect


@SLOWLY
def test_stop_and_continue(visit, port, demo, sampled, monkeypatch):
    """Stopping cancels the job at once."""
    monkeypatch.setattr(texts, "ABANDONED_AFTER", 1e9)
    page = visit(port)
    generate(page, "山中", LONG)
    wait_for_characters(page, 100)
    running = list(demo.texts.values())[-1]
    page.click("#stop")
    expect_status(page, "Stopped")
    assert wait_for(lambda: running.reason) == "cancelled"
    n = len(text_of(page))
    assert 100 <= n < LONG
    page.click("#continue")
    wait_for_characters(page, n + 100)
    page.click("#stop")
    text = text_of(page)
    assert text == sampled(len(text), "山中", temperature=0.8)
    assert page.locator("#text .prime").text_content() == "山中"
    page.fill("#length", "50")  # start again
    page.click("#generate")
    expect_status(page, "50 characters, seed 5")
    assert text_of(page) == text[:50]


def test_continue_after_the_end(visit, port, sampled):
    page = generated(visit, port, "a", 100, 0.8)
    page.fill("#length", "150")
    page.click("#continue")
    wait_for_characters(page, 250)
    expect_status(page)
    assert text_of(page) == sampled(250, "a", temperature=0.8)
    generate(page, "a", 500, until="山")
    expect_status(page, "Stop string reached")
    whole = sampled(500, "a", temperature=0.8)
    assert text_of(page) == whole.partition("山")[0]
    page.click("#continue")
    wait_for_characters(page, 500)
    assert text_of(page) == whole
    page.evaluate("document.getElementById('length').value = -5")
    page.click("#continue")
    expect(page.locator("#length")).to_be_focused()
    assert text_of(page) == whole
    page.click("#copy")
    expect_status(page, "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "a" + whole


def test_surprisal_branching_and_shared_link(visit, port):
    page = coloured(visit, port, "山", 200, temperature=0.6)
    page.hover("#text [data-i='30']")
    card = page.locator("#card")
    expect(card).to_be_visible()
    expect(card.locator("button .char")).to_have_count(5)
    before = text_of(page)
    names = card.locator("button .char").all_text_contents()
    percents = [float(text.removesuffix("%")) for text in card.locator("button .percent").all_text_contents()]
    assert percents == sorted(percents, reverse=True)
    other = next(i for i, name in enumerate(names) if name != before[30] and name not in "↵␣")
    page.click("#text [data-i='30']")
    card.locator("button").nth(other).click()
    expect_status(page)
    text = text_of(page)
    assert text[:31] == before[:30] + names[other]
    assert len(text) == 200
    assert text[31:] != before[31:]
    expect(page.locator("#text .branch")).to_have_text(names[other])
    expect(page.locator("#text .known")).to_have_count(200)

    page.click("#share")
    expect_status(page, "Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == page.url
    shared = visit(port, f"#{link.partition('#')[2]}", locale="zh-CN")
    expect_status(shared, "已完成")
    assert text_of(shared) == text
    assert shared.input_value("#temperature") == "0.6"


def test_tags_in_the_prompt_and_output_are_shown_as_text(visit, port):
    branches = "[" + ",".join(f'[{i},"{c}"]' for i, c in enumerate("<script>a.a.a</script>")) + "]"
    page = visit(port, f"#s=5&n=60&p=<script>&u=[]&b={branches}")
    expect_status(page)
    assert text_of(page).startswith("<script>a.a.a</script>")
    show_surprisal(page, 60)
    page.hover("#text [data-i='0']")
    expect(page.locator("#card")).to_be_visible()
    assert page.locator("main script, #card script").count() == 0


SAID = """async () => {
    const said = [];
    const { follow } = await import("./stream.js");
    await follow({ running: null, job: null, say: (key) => said.push(key) }, {}, 0, () => {});
    return said;
}"""


def test_a_restarted_text_has_a_notice(visit, port):
    events = [("begin", {"job": "x"}), ("notice", {"what": "restarted"}), ("end", {"reason": "length"})]
    body = "".join(f"event: {name}\nid: 0\ndata: {json.dumps(data)}\n\n" for name, data in events)
    page = visit(port)
    page.route("**/api/generate", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    assert page.evaluate(SAID) == ["waiting", "restarted"]


@SLOWLY
def test_leaving_cancels_the_job(visit, port, demo, monkeypatch):
    monkeypatch.setattr(texts, "ABANDONED_AFTER", 1e9)
    page = visit(port)
    generate(page, "a", LONG)
    wait_for_characters(page, 10)
    running = list(demo.texts.values())[-1]
    assert running.reason is None
    page.close(run_before_unload=True)
    assert wait_for(lambda: running.reason) == "cancelled"


def test_only_the_latest_texts_are_kept(visit, port):
    page = visit(port)
    expect_status(page)
    page.goto(f"http://127.0.0.1:{port}/api/models")  # leaving the page stores its texts
    page.evaluate("""() => {
        const [text] = JSON.parse(sessionStorage["minichar.texts"]);
        const many = Array.from({ length: 25 }, (_, i) => ({ ...text, id: String(i) }));
        sessionStorage["minichar.texts"] = JSON.stringify(many);
    }""")
    page.goto(f"http://127.0.0.1:{port}/")
    generate(page, "a", 30)
    expect_status(page, "30 characters")
    expect(page.locator("#texts button")).to_have_count(20)
    expect(page.locator("#texts button").first).to_have_attribute("aria-current", "true")


def other_text(page):
    text = page.locator("#other-text").text_content()
    return text.removeprefix(page.locator("#other-text .prime").text_content())


def expect_other(page, words="Finished"):
    expect(page.locator("#other-status")).to_contain_text(words)


@pytest.fixture
def page(visit, port):
    page = generated(visit, port, "a", 200, 0.8)
    page.check("#compare")
    expect_other(page, "200 characters, seed 5")
    return page


def test_another_temperature_has_the_same_prompt_and_seed(page, sampled):
    assert other_text(page) == sampled(200, "a", temperature=1.2)
    assert text_of(page) == sampled(200, "a", temperature=0.8)
    expect(page.locator("#first")).to_have_text("temperature 0.8")
    boxes = [page.locator(each).bounding_box() for each in ("#text", "#other-text")]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]
    assert page.locator("#other-text .s5").count() > 0
    page.locator("#other-temperature").fill("0.4")
    page.locator("#other-temperature").dispatch_event("change")
    expect_other(page, "200 characters")
    assert other_text(page) == sampled(200, "a", temperature=0.4)
    page.fill("#length", "50")
    page.click("#continue")
    expect_other(page, "250 characters")
    assert other_text(page) == sampled(250, "a", temperature=0.4)
    generate(page, "", 60, seed=7)
    expect_other(page, "60 characters, seed 7")
    assert other_text(page) == sampled(60, "", 7, temperature=0.4)
    page.click("#language")
    expect_other(page, "已完成，共 60 个字符")
    page.uncheck("#compare")
    expect(page.locator("#other")).to_be_hidden()
    expect(page.locator("#first")).to_be_hidden()


def test_another_model(page):
    page.select_option("#other-model", "other")
    expect_other(page, "200 characters")
    assert set(other_text(page)) <= set("\n abc")
    page.fill("#prime", "山")
    page.click("#generate")
    expect_other(page, "The model does not know these characters: 山")
    expect_status(page, "200 characters")


@SLOWLY
def test_both_texts_are_stopped(page):
    generate(page, "a", LONG)
    wait_for_characters(page, 100)
    expect(page.locator("#other-text span").nth(100)).to_be_attached()
    page.click("#stop")
    expect_status(page, "Stopped")
    expect_other(page, "Stopped")
    expect(page.locator("#stop")).to_be_disabled()
    assert len(other_text(page)) < LONG


COLOURS = """async (data) => {
    const image = new Image();
    image.src = data;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const { data: bytes } = context.getImageData(0, 0, image.width, image.height);
    const counts = {};
    const inked = new Set();
    for (let i = 0; i < bytes.length; i += 4) {
        const colour = `rgb(${bytes[i]}, ${bytes[i + 1]}, ${bytes[i + 2]})`;
        counts[colour] = (counts[colour] ?? 0) + 1;
        if (bytes[i] !== bytes[0]) inked.add(Math.floor(i / 4 / image.width));
    }
    return [[image.width, image.height], counts, [...inked]];
}"""


def saved(page, browser):
    """Save the picture. Return its size, the number of pixels of each colour, and the rows with any ink."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    assert download.value.suggested_filename == "minichar.png"
    data = b64encode(download.value.path().read_bytes()).decode()
    reader = browser.new_page()
    picture = reader.evaluate(COLOURS, f"data:image/png;base64,{data}")
    reader.close()
    expect_status(page, "The picture has been saved.")
    return picture


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_shows_the_text_in_the_colours_of_the_page(visit, port, browser, scheme):
    page = coloured(visit, port, "a", 200, temperature=1.5, color_scheme=scheme)
    size, counts, _ = saved(page, browser)
    assert size == [1200, 630]
    back = "each => getComputedStyle(each).backgroundColor"
    levels = {f"s{level}": page.locator(f"#scale .s{level}").evaluate(back) for level in range(1, 6)}
    assert counts[page.locator("body").evaluate(back)] > 1200 * 630 / 2
    for level, colour in levels.items():
        assert (counts.get(colour, 0) > 300) == (page.locator(f"#text .{level}").count() > 0)
    page.uncheck("#surprisal")
    counts = saved(page, browser)[1]
    assert max(counts.get(colour, 0) for colour in levels.values()) < 300


def test_a_long_text_is_cut_above_the_last_line_of_the_picture(visit, port, browser):
    page = visit(port)
    rows = []
    for n in (3000, 1):
        generate(page, "", n)
        expect_status(page, f"{n} character")
        rows.append(set(saved(page, browser)[2]))
    assert rows[0] & set(range(480, 535))
    assert not rows[1] & set(range(480, 535))
    assert not rows[0] & set(range(536, 550))
    assert rows[0] & set(range(560, 600))  # the settings
