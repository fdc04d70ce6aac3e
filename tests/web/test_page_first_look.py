"""Test in Chromium that a stranger sees what the page is: coloured text, in their language, on any screen."""

import optional
import pytest
from page_helpers import expect_status, generate, text_of
from toys import toy_model
from web_helpers import CHARACTERS, local_queue, server_in_thread

expect = optional.playwright().expect
PHONE = {"viewport": {"width": 390, "height": 844}}
TAGLINE = "A small neural network writes text, one character at a time."


@pytest.fixture(scope="module")
def port():
    """Port of a server with an English model, the default, and a Chinese one."""
    models = {
        "english": toy_model(CHARACTERS, rnn_size=12, scale=14.0),
        "chinese": toy_model("".join(sorted("春風明月山中夜。"))),
    }
    models["english"].details |= {"settings": {"title": "Plays"}, "seconds": 90.0}
    models["chinese"].details |= {"settings": {"title": "Tang poems / 唐诗"}, "seconds": 5000.0}
    with server_in_thread(local_queue(models, pace=0)) as port:
        yield port


def is_on_screen(page, selector):
    box, size = page.locator(selector).bounding_box(), page.viewport_size
    return box["y"] >= 0 and box["y"] + min(box["height"], 60) <= size["height"] and box["width"] > 100


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
def test_the_first_screen_explains_itself(visit, port, options):
    page = visit(port, **options)
    expect_status(page)
    expect(page.locator("header p")).to_have_text(f"{TAGLINE} It was trained on “Plays” for 90 seconds.")
    hint = "Orange: the model was surprised. Click a letter to change the story."
    expect(page.locator("#hint")).to_have_text(hint)
    assert page.locator("#text.coloured .known").count() == 500
    assert page.locator("#text .s5").first.evaluate("each => getComputedStyle(each).backgroundColor") != (
        page.locator("#text").evaluate("each => getComputedStyle(each).backgroundColor")
    )
    assert page.evaluate("[scrollY, document.documentElement.scrollWidth <= innerWidth]") == [0, True]
    for selector in ("header p", "#status", "#hint", "#text"):
        assert is_on_screen(page, selector), selector
    assert page.title() == "minichar: a small neural network that writes"


def test_settings_fold_away_on_a_phone(visit, port):
    page = visit(port, **PHONE)
    expect_status(page)
    expect(page.locator("#model")).to_be_hidden()
    page.click("#fold > summary")
    expect(page.locator("#model")).to_be_visible()
    for button in page.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 40
    page.set_viewport_size({"width": 1200, "height": 800})
    expect(page.locator("#fold > summary")).to_be_hidden()
    expect(page.locator("#model")).to_be_visible()
    page.set_viewport_size(PHONE["viewport"])
    expect(page.locator("#model")).to_be_hidden()
    page.evaluate("document.getElementById('length').value = -5")
    page.click("#generate")
    expect(page.locator("#length")).to_be_focused()
    generate(page, "a")
    expect_status(page, "300 characters")
    assert 0 < page.locator("#text").bounding_box()["y"] < 844 - 150


def test_a_text_is_generated_at_every_visit_and_in_every_tab(visit, port):
    page = visit(port)
    expect_status(page)
    texts = [text_of(page)]
    page.select_option("#model", "english")  # remembered, so that later visits are not the first
    for tab in (page.context.new_page(), page):
        tab.goto(f"http://127.0.0.1:{port}/api/models")
        tab.goto(f"http://127.0.0.1:{port}/")
        expect_status(tab)
        texts.append(text_of(tab))
        assert tab.input_value("#prime") == tab.locator("#text .prime").text_content() == "the "
    assert len(set(texts)) == 3
    assert {len(text) for text in texts} == {500}


@pytest.mark.parametrize(
    ("locale", "model", "trained", "other_title", "page_title"),
    [
        ("fr", "english", "It was trained on “Plays” for 90 seconds.", "Tang poems, ", "minichar: a small"),
        ("zh-CN", "chinese", "训练文本：唐诗；训练用时 83 分钟。", "唐诗，", "minichar：会写作的"),
    ],
)
def test_languages_of_visitors(visit, port, locale, model, trained, other_title, page_title):
    page = visit(port, locale=locale)
    expect(page.locator("#model")).to_have_value(model)
    expect(page.locator("#trained")).to_have_text(trained)
    expect(page.locator("#model option").nth(1)).to_contain_text(other_title)
    assert page.title().startswith(page_title)


def test_controls_have_names_in_the_accessibility_tree(visit, port):
    """axe does not notice a label whose first control is another element."""
    page = visit(port)
    page.evaluate("document.getElementById('more').open = true")
    page.check("#compare")
    names = {
        "slider": ["Temperature", "Temperature"],
        "combobox": ["Model", "Model"],
        "spinbutton": ["Top-p (1 = off)", "Top-k (0 = off)", "Length", "Seed"],
        "textbox": ["Prompt", "Stop string"],
        "checkbox": ["Skip unknown characters", "Side by side", "Show surprisal"],
    }
    for role, expected in names.items():
        for name in set(expected):
            found = page.get_by_role(role, name=name, exact=True)
            expect(found).to_have_count(expected.count(name))
        expect(page.get_by_role(role)).to_have_count(len(expected))
    for name in ("Output", "Second text"):
        expect(page.get_by_role("document", name=name, exact=True)).to_have_count(1)
    second = page.get_by_role("group", name="Second text")
    expect(second.get_by_role("slider", name="Temperature")).to_have_attribute(
        "aria-valuetext", "1.2, daring"
    )
