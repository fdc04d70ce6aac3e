"""Test in Chromium where the card of alternatives is shown, when it closes, and how characters are named."""

import re

import optional
import pytest
from page_helpers import coloured, expect_status, generate
from toys import toy_model
from web_helpers import local_queue, server_in_thread

expect = optional.playwright().expect


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


@pytest.mark.parametrize("i", [0, 150, 399])
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
