"""Test in Chromium that the visitor can write inside the text, and that the model goes on from there."""

import json

import optional
import pytest
from page_helpers import LONG, SLOWLY, coloured, expect_status, generate, text_of, wait_for_characters
from web_helpers import request

expect = optional.playwright().expect


def continued(port, prime, n, start, written):
    """Return the text of `n` characters that has the characters of `written` from `start` on."""
    branches = [[start + i, character] for i, character in enumerate(written)]
    data = {"prime": prime, "length": n, "seed": 5, "temperature": 0.8, "branches": branches, "stop": []}
    with request(port, "POST", "/api/generate", data | {"stream": False}) as response:
        return json.load(response)["text"]


@pytest.fixture
def writing(visit, port):
    """Return a page on which "rain" is written at position 20, and the text with the suggestion."""
    page = coloured(visit, port, n=200, temperature=0.8)
    before = text_of(page)
    page.click("#text [data-i='20']")
    page.keyboard.type("rain")
    expected = continued(port, "山", 200, 20, "rain")
    assert expected[:24] == before[:20] + "rain"
    expect_status(page, "200 characters")
    assert text_of(page) == expected
    expect(page.locator("#writing")).to_be_focused()
    return page, expected


def test_tab_accepts_a_suggestion_and_is_no_trap(writing):
    page, expected = writing
    expect(page.get_by_role("textbox", name="Type here")).to_have_text("rain")
    expect(page.locator("#writing")).to_have_accessible_description(page.locator("#hint").text_content())
    expect(page.locator("#hint")).to_contain_text("Tab accepts, Escape dismisses.")
    expect(page.locator("#reading")).to_have_text(f"Suggestion: {expected[24:124]}")
    colours = "all => all.map(each => getComputedStyle(each).color)"
    (soft,) = page.locator("#about").evaluate_all(colours)
    assert set(page.locator("#writing ~ span").evaluate_all(colours)) == {soft}
    page.keyboard.press("Tab")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#writing")).to_have_count(0)
    assert text_of(page) == expected
    assert soft not in page.locator("#text [data-i]").evaluate_all(colours)
    expect(page.locator("#text .branch")).to_have_count(4)
    expect(page.locator("#text .known")).to_have_count(200)
    page.keyboard.press("Tab")
    expect(page.locator("#picture")).to_be_focused()
    page.go_back()
    expect(page.locator("#text .branch")).to_have_count(0)


def test_the_hint_on_a_phone_names_no_keys(visit, port):
    page = coloured(visit, port, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.tap("#text [data-i='20']")
    page.tap("#card .write")
    expect(page.locator("#writing")).to_be_focused()
    expect(page.locator("#hint")).to_contain_text("Tap outside the text to accept it.")


def test_escape_dismisses_a_suggestion_and_then_tab_moves_on(writing):
    page, expected = writing
    page.keyboard.press("Escape")
    expect(page.locator("#text")).to_have_text("山" + expected[:24])
    expect_status(page, "Stopped: 24 characters")
    expect(page.locator("#writing")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#picture")).to_be_focused()
    expect(page.locator("#text .known")).to_have_count(24)
    page.click("#continue")
    expect_status(page, "200 characters")
    assert text_of(page) == expected


def test_writing_on_replaces_the_suggestion(writing, port):
    page, _ = writing
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    page.keyboard.type("a")
    expected = continued(port, "山", 200, 20, "rai\na")
    expect(page.locator("#text")).to_have_text("山" + expected)
    page.click("#share")
    assert text_of(page) == expected
    expect_status(page, "Link copied")


def test_escape_twice_or_shift_tab_leaves_the_editor(writing):
    page, _ = writing
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.type("a")
    expect(page.locator("#writing")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#writing")).to_have_count(0)


def test_write_at_the_end_of_a_text(visit, port):
    page = coloured(visit, port, n=100, temperature=0.8)
    text = text_of(page)
    box = page.locator("#text").bounding_box()
    page.mouse.click(box["x"] + 100, box["y"] + box["height"] - 20)
    expect(page.locator("#writing")).to_be_focused()
    page.keyboard.type("rain")
    expected = continued(port, "山", 200, 100, "rain")
    expect_status(page, "200 characters")
    assert text_of(page) == expected
    assert expected.startswith(text + "rain")


def test_write_where_the_surprisal_is_not_shown(visit, port):
    page = coloured(visit, port, n=200, temperature=0.8)
    page.uncheck("#surprisal")
    expect(page.locator("#hint")).to_contain_text("Click anywhere in the text and type.")
    page.click("#text [data-i='7']")
    expect(page.locator("#writing + [data-i='7']")).to_be_attached()
    page.keyboard.press("Escape")
    assert page.locator("#text [data-i]").count() == 200


def test_write_with_an_input_method(visit, port):
    """An input method composes characters in the editor, so that the card has a button that opens it."""
    page = coloured(visit, port, n=200, temperature=0.8, locale="zh-CN")
    page.click("#text [data-i='30']")
    page.get_by_role("button", name="从这里开始写").click()
    keyboard = page.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "ye", "selectionStart": 2, "selectionEnd": 2})
    page.wait_for_timeout(600)
    assert page.locator("#text [data-i='31']").is_visible()  # nothing has been replaced yet
    keyboard.send("Input.insertText", {"text": "夜雨"})
    expected = continued(port, "山", 200, 30, "夜雨")
    expect(page.locator("#text")).to_have_text("山" + expected)


@SLOWLY
def test_write_while_a_text_is_being_generated(visit, port):
    page = visit(port)
    generate(page, "山", LONG)
    wait_for_characters(page, 100)
    page.click("#text [data-i='10']")
    page.keyboard.type("rain")
    wait_for_characters(page, 20)
    page.keyboard.press("Tab")
    wait_for_characters(page, 200)
    page.click("#stop")
    text = text_of(page)
    assert text == continued(port, "山", len(text), 10, "rain")


def test_characters_that_the_model_does_not_know_are_named(visit, port):
    page = coloured(visit, port, n=200, temperature=0.8)
    page.click("#text [data-i='10']")
    page.keyboard.type("a☃")
    expect_status(page, "The model does not know these characters: ☃")
    page.keyboard.press("Backspace")
    expect_status(page, "200 characters")
    assert text_of(page) == continued(port, "山", 200, 10, "a")
