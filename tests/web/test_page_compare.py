"""Test in Chromium that two texts are generated side by side with the same seed."""

import optional
import pytest
from page_helpers import LONG, SLOWLY, expect_status, generate, text_of, wait_for_characters

expect = optional.playwright().expect


def other_text(page):
    text = page.locator("#other-text").text_content()
    return text.removeprefix(page.locator("#other-text .prime").text_content())


def expect_other(page, words="Length limit reached"):
    expect(page.locator("#other-status")).to_contain_text(words)


@pytest.fixture
def page(visit, port):
    page = visit(port)
    generate(page, "a", 200)
    expect_status(page, "200 characters, seed 5")
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
    expect_other(page, "已达到长度上限，共 60 个字符")
    page.uncheck("#compare")
    expect(page.locator("#other")).to_be_hidden()
    expect(page.locator("#first")).to_be_hidden()


def test_another_model(page, visit, port):
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
