"""Test in Chromium how a text is coloured and read, and the card of alternatives."""

import json
import re
from itertools import pairwise
from math import log

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
from toys import toy_model
from web_helpers import CHARACTERS, local_queue, request, server_in_thread, wait_for

expect = optional.playwright().expect
LEVELS = ".s1", ".s2", ".s3", ".s4", ".s5"
SCHEMES = "light", "dark"


def trained(loss):
    model = toy_model(CHARACTERS, rnn_size=12, scale=14.0)
    model.details["val_loss"] = loss
    return model


def test_surprisal_is_scaled_to_the_entropy_of_the_model(visit):
    losses = {"english": 1.4, "chinese": 4.5}
    models = {name: trained(loss) for name, loss in losses.items()}
    with server_in_thread(local_queue(models, pace=0)) as port:
        page = visit(port)
        for name, loss in losses.items():
            page.select_option("#model", name)
            generate(page, "", 300, temperature=2)
            expect_status(page, "300 characters")
            show_surprisal(page, 300)
            data = {"model": name, "length": 300, "seed": 5, "temperature": 2, "alternatives": True}
            with request(port, "POST", "/api/generate", data | {"stream": False}) as response:
                details = json.load(response)["details"]
            multiples = [-log(max(p, 1e-5)) / loss for p, _ in details]
            expected = [sum(m >= limit for limit in (0.5, 1, 1.5, 2, 2.5)) for m in multiples]
            shown = page.locator("#text .known").evaluate_all(
                "all => all.map(({ className }) => Number(className.match(/s(\\d)/)[1]))"
            )
            assert shown == expected
            assert len(set(expected)) >= 4
            expect(page.locator("#typical")).to_contain_text(f"{loss} nats")
            page.uncheck("#surprisal")


def luminance(colour):
    """Return the relative luminance of a colour such as ``rgb(1, 2, 3)``, as defined by WCAG."""
    parts = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def style(page, selector, name):
    return page.locator(selector).first.evaluate("(element, name) => getComputedStyle(element)[name]", name)


def show_each_level(page):
    """Give the first characters of the text the levels of the scale, and select the next one."""
    expect_status(page)
    show_surprisal(page, 500)
    page.click("#text [data-i='5']")
    page.locator("#text [data-i]").evaluate_all(
        "(all, levels) => levels.forEach((level, i) => { all[i].className = `known ${level.slice(1)}` })",
        LEVELS,
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_levels_differ_in_lightness_and_their_text_is_legible(visit, port, scheme):
    page = visit(port, color_scheme=scheme)
    show_each_level(page)
    assert style(page, "#text .selected", "boxShadow") != "none"
    paper = style(page, "#text", "backgroundColor")
    backgrounds = [paper, *(style(page, f"#scale {level}", "backgroundColor") for level in LEVELS)]
    assert backgrounds[1:] == [style(page, f"#text {level}", "backgroundColor") for level in LEVELS]
    steps = [luminance(colour) for colour in backgrounds]
    assert steps == sorted(steps, reverse=scheme == "light")
    assert all(contrast(a, b) > 1.08 for a, b in pairwise(backgrounds))
    ink = style(page, "#text", "color")
    assert all(contrast(ink, colour) >= 4.5 for colour in backgrounds)


def test_levels_are_distinct_if_the_browser_replaces_colours(visit, port):
    page = visit(port, forced_colors="active")
    show_each_level(page)
    lines = {
        part: [
            [style(page, f"{part} {level}", f"borderBottom{name}") for name in ("Style", "Width")]
            for level in LEVELS
        ]
        for part in ("#scale", "#text")
    }
    assert lines["#text"] == lines["#scale"]
    assert all(line not in lines["#text"][:i] for i, line in enumerate(lines["#text"]))
    assert style(page, "#text .selected", "outlineStyle") == "solid"


def centre(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_card_can_be_reached_diagonally_and_leaves_with_the_mouse(visit, port):
    page = coloured(visit, port)
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now() + 1000") / 1000)
    boxes = page.locator("#text [data-i]").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect().x)"
    )
    i = max(range(200), key=boxes.__getitem__)  # the card extends to the left, below the preceding characters
    page.hover(f"#text [data-i='{i}']")
    page.clock.run_for(1)
    expect(page.locator("#card")).to_be_visible()
    x, y = centre(page, f"#text [data-i='{i}']")
    first = page.locator("#card button").first.bounding_box()
    for step in range(1, 21):
        part = step / 20
        page.mouse.move(x + part * (first["x"] + 5 - x), y + part * (first["y"] + 5 - y))
        page.clock.run_for(50)
    assert page.locator("#card:hover").count() == 1
    page.clock.run_for(1000)
    expect(page.locator("#card")).to_be_visible()
    expect(page.locator("#text .selected")).to_have_attribute("data-i", str(i))
    page.hover("h1")
    page.clock.run_for(100)
    expect(page.locator("#card")).to_be_visible()
    page.clock.run_for(300)
    expect(page.locator("#card")).to_be_hidden()
    assert page.locator("#text .selected").count() == 0
    for position in (30, 5):  # a mouse that rests on another character shows that one
        page.hover(f"#text [data-i='{position}']")
        page.clock.run_for(150)
        expect(page.locator("#text .selected")).to_have_attribute("data-i", str(position))


def test_arrow_keys_read_each_character_and_escape_keeps_the_place(visit, port):
    page = coloured(visit, port)
    text = text_of(page)
    names = {"\n": "newline", " ": "space"}
    page.focus("#text")
    for i in range(4):
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"#text [data-i='{i}']")).to_be_focused()
        reading = page.locator("#reading").text_content()
        assert reading.startswith(f"{names.get(text[i], text[i])}. surprisal ")
        assert reading.count("%") == 6
    for _ in range(2):
        page.keyboard.press("Escape")
        expect(page.locator("#card")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#text [data-i='4']")).to_be_focused()
    expect(page.locator("#card")).to_be_visible()
    page.keyboard.press("End")
    expect(page.locator(f"#text [data-i='{len(text) - 1}']")).to_be_focused()
    page.keyboard.press("Home")
    x, y = centre(page, "#text [data-i='0']")
    page.keyboard.press("ArrowDown")
    below = page.locator("#text .selected")
    box = below.bounding_box()
    assert box["y"] > y
    assert abs(box["x"] - x) < 2 * box["width"] + 2 or text[int(below.get_attribute("data-i"))] == "\n"
    page.keyboard.press("ArrowUp")
    expect(page.locator("#text [data-i='0']")).to_be_focused()
    assert page.locator("#reading").get_attribute("aria-live") == "polite"


@SLOWLY
def test_a_stopped_text_does_not_go_on_when_surprisal_is_shown(visit, port):
    page = visit(port)
    generate(page, "a", LONG)
    wait_for_characters(page, 10)
    page.click("#stop")
    expect_status(page, "Stopped")
    stopped = text_of(page)
    for _ in range(3):  # on, off, and on again while details are being loaded
        page.click("#surprisal")
    expect(page.locator("#text [data-i].known")).to_have_count(len(stopped))
    expect_status(page, "Stopped")
    assert text_of(page) == stopped


@pytest.fixture
def uncoloured(visit, port):
    """Return a page with a text whose surprisal has not been shown yet."""
    page = visit(port)
    page.uncheck("#surprisal")
    generate(page, "a", 30)
    expect_status(page, "30 characters")
    return page


@pytest.fixture
def held(uncoloured):
    """Show the surprisal, but hold the request for it."""
    held = []
    uncoloured.route("**/api/generate", lambda route: held.append(route), times=1)
    uncoloured.check("#surprisal")
    wait_for(lambda: held or uncoloured.wait_for_timeout(20))
    return held


def test_a_finished_text_stays_finished_while_details_are_loaded(uncoloured, held):
    page = uncoloured
    expect(page.locator("#status")).to_have_text("Finished: 30 characters, seed 5.")
    expect(page.locator("#stop")).to_be_disabled()
    held[0].continue_()
    expect(page.locator("#text [data-i].known")).to_have_count(30)


def test_details_arrive_after_a_busy_server_although_surprisal_was_hidden(uncoloured):
    page = uncoloured
    page.route("**/api/generate", lambda route: route.fulfill(status=503, body="x"), times=1)
    page.check("#surprisal")
    expect_status(page, "The server is busy")
    page.uncheck("#surprisal")
    expect(page.locator("#text [data-i].known")).to_have_count(30)
    expect_status(page, "30 characters")


def test_an_error_is_not_replaced_when_details_are_given_up(uncoloured, held):
    page = uncoloured
    page.evaluate("location.hash = 's=1&t=99'")
    expect_status(page, "invalid: Temperature.")
    page.wait_for_timeout(100)
    expect_status(page, "invalid: Temperature.")
    page.click("#language")
    expect_status(page, "无效：温度")


def test_a_long_text_is_laid_out_in_blocks(visit, port, sampled):
    """The browser lays out only the last block when text is added, and skips those that are out of view."""
    page = generated(visit, port, "山", 3000, 0.8)
    assert text_of(page) == sampled(3000, "山", temperature=0.8)
    blocks = page.locator("#text > div")
    assert blocks.count() >= 5
    sizes = blocks.evaluate_all("all => all.map(({ children }) => children.length)")
    assert max(sizes) < 1000
    assert style(page, "#text > div", "contentVisibility") == "auto"
    page.evaluate("getSelection().selectAllChildren(document.getElementById('text'))")
    copied = page.evaluate("`${getSelection()}`")
    assert copied.rstrip("\n") == "山" + text_of(page).rstrip("\n")


POSITIONS = """() => {
    document.getElementById("text").scrollTop = 0;
    for (const block of document.querySelectorAll("#text > div")) block.style.contentVisibility = "visible";
    const all = [...document.querySelectorAll("#text [data-i]")];
    return all.map((each) => each.getBoundingClientRect()).map(({ x, y }) => [Math.round(x), Math.round(y)]);
}"""


@pytest.mark.parametrize("characters", [" abcdeghilmnoprst", "。一中夜山雨，"])
def test_a_text_without_newlines_is_split_where_it_wraps(visit, characters):
    model = toy_model(characters, rnn_size=12, scale=14.0)
    with server_in_thread(local_queue({"toy": model}, pace=0)) as port:
        page = visit(port, "#s=5&n=3000&u=[]")
        expect_status(page, "3000 characters")
        blocks = page.locator("#text > div")
        assert blocks.count() >= 3
        page.evaluate("getSelection().selectAllChildren(document.getElementById('text'))")
        assert page.evaluate("`${getSelection()}`") == text_of(page)
        boxes = blocks.evaluate_all("all => all.map((each) => each.getBoundingClientRect())")
        assert all(above["bottom"] == pytest.approx(below["top"]) for above, below in pairwise(boxes))
        split = page.evaluate(POSITIONS)
        show_surprisal(page, 3000)
        page.click("#text [data-i='2500']")
        page.set_viewport_size({"width": 1000, "height": 800})
        expect(blocks).to_have_count(1)
        expect(page.locator("#text [data-i='2500']")).to_be_focused()
        page.uncheck("#surprisal")
        page.set_viewport_size({"width": 1200, "height": 800})
        assert page.evaluate(POSITIONS) == split


def open_card(page, i):
    page.click(f"#text [data-i='{i}']")
    expect(page.locator("#card")).to_be_visible()


def test_invisible_characters_have_a_sign_on_the_card(visit):
    characters = "\n\r\xa0\u200b\u3000"
    with server_in_thread(local_queue({"blank": toy_model(characters)}, pace=0)) as port:
        page = coloured(visit, port, "", 30)
        open_card(page, 20)
        signs = page.locator("#card button .char").all_text_contents()
        assert sorted(signs) == sorted(["↵", "U+000D", "U+00A0", "U+200B", "␣"])
        assert page.locator("#card p").text_content().split(" - ")[0] in signs
        generate(page, "☃\u200d")
        expect_status(page, "☃ (U+2603) U+200D.")
        generate(page, " ")
        expect_status(page, "␣ (U+0020).")


SPOKEN = {"a": "a", "\n": "newline", "\t": "tab", " ": "space", "\u3000": "ideographic space", "\r": "U+000D"}
PERCENT = {0: "<0.01%", 9e-5: "<0.01%", 1e-4: "0.01%", 0.05: "5.00%", 0.5: "50.0%", 1: "100.0%"}
DURATION = {0.2: "1 second", 119: "119 seconds", 120: "2 minutes", 7199: "120 minutes"}
DURATION |= {7200: "2 hours", 1e5: "27.8 hours"}


def test_characters_probabilities_and_durations_have_words(visit, port):
    page = visit(port)
    functions = {"characters.spoken": SPOKEN, "card.percent": PERCENT, "state.duration": DURATION}
    for name, words in functions.items():
        module, _, function = name.partition(".")
        call = f"async all => all.map((await import('./{module}.js')).{function})"
        assert page.evaluate(call, [*words]) == [*words.values()]


@pytest.mark.parametrize("side", ["left", "right"])
def test_card_is_beside_the_character_on_a_low_screen(visit, side):
    model = toy_model("abcd")  # without newlines, all lines are full
    with server_in_thread(local_queue({"abcd": model}, pace=0)) as port:
        page = coloured(visit, port, "", viewport={"width": 844, "height": 390})
    page.evaluate("scrollTo(0, 0)")
    area = page.locator("#text").bounding_box()
    page.evaluate("top => scrollTo(0, top - 100)", area["y"])
    boxes = page.locator("#text [data-i]").evaluate_all(
        "all => all.map(each => each.getBoundingClientRect()).map(({ x, y, right }) => [x, y, right])"
    )
    line = [i for i, (_, y, _) in enumerate(boxes) if 180 < y < 215]  # not enough room below or above
    i = min(line, key=boxes.__getitem__) if side == "right" else max(line, key=boxes.__getitem__)
    open_card(page, i)
    x, y, right = boxes[i]
    card = page.locator("#card").bounding_box()
    assert y - card["height"] < 0 < 390 < y + card["height"]
    least, most = (right, 844) if side == "right" else (0, x)
    assert least <= card["x"] <= most - card["width"]
    assert 0 <= card["y"] <= y
    assert card["y"] + card["height"] <= 390


def test_bars_are_in_the_colours_of_the_page_and_as_long_as_the_probability(visit, port):
    page = coloured(visit, port)
    open_card(page, 20)
    accent = page.locator("#generate").evaluate("each => getComputedStyle(each).backgroundColor")
    for button in page.locator("#card button:has(.percent)").all():
        p = float(button.locator(".percent").text_content().rstrip("%"))
        bar = button.locator(".part").evaluate("each => getComputedStyle(each).backgroundImage")
        colour, length = re.search(r"(rgb\([\d, ]+\)) ([\d.]+)%", bar).groups()
        assert colour == accent
        assert float(length) == pytest.approx(p, abs=0.06)


@pytest.mark.parametrize("i", [0, 399])
def test_on_a_phone_the_card_covers_neither_the_character_nor_the_header_of_the_text(visit, port, i):
    page = coloured(visit, port, viewport={"width": 390, "height": 844}, has_touch=True)
    page.locator("#hint").scroll_into_view_if_needed()
    page.tap(f"#text [data-i='{i}']")
    card = page.locator("#card")
    expect(card).to_be_visible()
    top = card.bounding_box()["y"]
    assert top + card.bounding_box()["height"] <= 844
    for covered in (f"#text [data-i='{i}']", "#hint", "#status"):
        box = page.locator(covered).bounding_box()
        assert box["y"] + box["height"] < top


def test_alternatives_are_chosen_with_the_keyboard(visit, port):
    """The card closes when the focus leaves the text, because it could cover what is focused next."""
    page = coloured(visit, port)
    card, buttons = page.locator("#card"), page.locator("#card button")
    page.focus("#text")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(card).to_be_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(buttons.nth(1)).to_be_focused()
    page.click("#card p")
    expect(card).to_be_visible()
    page.focus("#text [data-i='1']")
    page.keyboard.press("Tab")
    expect(page.locator("#picture")).to_be_focused()
    expect(card).to_be_hidden()
    expect(page.locator("#text .selected")).to_have_attribute("data-i", "1")
    page.focus("#text [data-i='1']")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    expect(buttons.nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(page.locator("#text [data-i='1']")).to_be_focused()
    for key in ("ArrowRight", "Enter", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#text .branch")).to_have_attribute("data-i", "2")
    expect_status(page)


def test_card_closes_when_the_page_is_restored(visit, port):
    page = coloured(visit, port)
    open_card(page, 300)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(page.locator("#card")).to_be_hidden()


def test_reading_is_punctuated_in_the_language_of_the_page(visit, port):
    page = coloured(visit, port, locale="zh-CN")
    page.focus("#text")
    page.keyboard.press("ArrowRight")
    assert re.fullmatch(r"[^:.]+。意外程度 [^:]+。候选字符：[^:]+", page.locator("#reading").text_content())
    page.click("#language")
    page.focus("#text")
    page.keyboard.press("ArrowRight")
    assert ". Alternatives: " in page.locator("#reading").text_content()
