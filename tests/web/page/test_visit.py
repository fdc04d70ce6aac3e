"""Test in Chromium what a visitor sees: first screen, models, examples, settings, languages, history."""

import json
import random
import re
import string
from functools import partial

import optional
import pytest
from page_helpers import expect_status, generate, text_of, wait_for_characters
from toys import toy_model
from web_helpers import CHARACTERS, local_queue, server_in_thread

expect = optional.playwright().expect
PHONE = {"viewport": {"width": 390, "height": 844}}
TAGLINE = "A small neural network writes text, one character at a time."


@pytest.fixture(scope="module")
def bilingual():
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
def test_the_first_screen_explains_itself(visit, bilingual, options):
    page = visit(bilingual, **options)
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


def test_hint_and_scale_are_shown_only_with_a_text_that_they_explain(visit, port):
    page = visit(port)
    hint, scale, text = (page.locator(f"#{each}") for each in ("hint", "scale", "text"))
    expect_status(page)
    expect(hint).to_be_visible()
    expect(scale).to_be_visible()
    page.uncheck("#surprisal")
    expect(scale).to_be_hidden()
    page.check("#surprisal")
    generate(page, "a☃")
    expect_status(page, "does not know")
    expect(text).to_have_text("a☃")
    expect(hint).to_be_hidden()
    expect(scale).to_be_hidden()
    page.uncheck("#surprisal")
    generate(page, "a", 20)
    expect_status(page, "20 characters")
    expect(hint).to_be_visible()
    expect(scale).to_be_hidden()
    page.route("**/api/generate", lambda route: None)  # never suggest anything
    text.locator("[data-i='0']").click()
    page.keyboard.type("b")
    expect(text.locator("[data-i]")).to_have_count(0)
    expect(hint).to_contain_text("Type, then pause")
    expect(hint).to_be_visible()


def test_settings_fold_away_on_a_phone(visit, bilingual):
    page = visit(bilingual, **PHONE)
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


def test_a_text_is_generated_at_every_visit_and_in_every_tab(visit, bilingual):
    page = visit(bilingual)
    expect_status(page)
    texts = [text_of(page)]
    page.select_option("#model", "english")  # remembered, so that later visits are not the first
    for tab in (page.context.new_page(), page):
        tab.goto(f"http://127.0.0.1:{bilingual}/api/models")
        tab.goto(f"http://127.0.0.1:{bilingual}/")
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
def test_languages_of_visitors(visit, bilingual, locale, model, trained, other_title, page_title):
    page = visit(bilingual, locale=locale)
    expect(page.locator("#model")).to_have_value(model)
    expect(page.locator("#trained")).to_have_text(trained)
    expect(page.locator("#model option").nth(1)).to_contain_text(other_title)
    assert page.title().startswith(page_title)


def test_controls_have_names_in_the_accessibility_tree(visit, bilingual):
    """axe does not notice a label whose first control is another element."""
    page = visit(bilingual)
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


def trained(title, loss=None, path="/home/ann/secret/poems.txt", **config):
    model = toy_model(CHARACTERS, scale=14.0, **config)
    model.details |= {"settings": {"title": title}, "origin": {"path": path}, "val_loss": loss}
    return model


def test_models_are_listed_by_title_in_groups_without_paths(visit):
    models = {
        "a": trained("Shakespeare", 1.376, rnn_size=5),
        "b": trained("", 4.5, rnn_size=5, num_layers=1),
        "c": trained("Shakespeare", 1.4, model="gru"),
        "d": trained("Shakespeare", 1.4, model="gru", seed=2),
    }
    with server_in_thread(local_queue(models, pace=0)) as port:
        page = visit(port)
        names = page.locator("#model option").all_text_contents()
        assert names == [
            "Shakespeare, LSTM 2×5, loss 1.376",
            "Shakespeare, GRU 2×4, loss 1.400 (c)",
            "Shakespeare, GRU 2×4, loss 1.400 (d)",
            "poems, LSTM 1×5, loss 4.500",
        ]
        assert page.locator("#model optgroup[label=Shakespeare] option").count() == 3
        assert page.locator("#model > option").all_text_contents() == names[3:]
        page.click("#more summary")
        expect(page.locator("#about")).to_have_text(
            re.compile(
                r"^LSTM, 2 × 5 units, 29 distinct characters, [\d,]+ parameters, validation loss 1.376 nats"
            )
        )
        page.click("#language")
        expect(page.locator("#model option").first).to_have_text("Shakespeare，LSTM 2×5，损失 1.376")
        expect(page.locator("#about")).to_contain_text("验证损失")
        assert page.locator("#trained").text_content() == ""  # no model says for how long
        assert "ann" not in page.content()


def test_examples_are_one_click_away(visit, port, sampled):
    page = visit(port)
    expect_status(page)
    examples = page.locator("#examples button")
    assert examples.all_text_contents() == ["the", "in", "山中", "No prompt"]
    page.click("#more summary")
    page.fill("#seed", "7")
    examples.nth(2).click()
    expect_status(page, "seed 7")
    assert text_of(page) == sampled(500, "山中", 7, temperature=0.8)
    page.select_option("#model", "other")
    expect(examples).to_have_text(["No prompt"])


def test_examples_suit_the_title_and_the_script_of_the_model(visit, port):
    """Words of one kind of text, such as "Once upon a time", suit no manual and no source code."""
    page = visit(port)
    for title, vocabulary, expected in (
        ("Tang", "春風明月山中夜今日人 ab", ["山中", "今日", "人", ""]),
        ("Shakespeare", "ROME:\nThe in", ["ROMEO:\n", "The ", "in ", ""]),
        ("pystdlib", "defimport ", ["def ", "import ", "if ", ""]),
        ("Linux source code", string.printable, ["The ", "if ", "for ", ""]),
        ("Толстой", "Однажды Я не", ["Я не ", "Она ", ""]),
        ("昔話", "むかしわたはそて", ["わたしは", "そして", ""]),
        ("소설", "옛날그는 나", ["그는 ", "나는 ", ""]),
        ("?", "Και Ήταν", ["Και ", ""]),
        ("?", "0123", [""]),
    ):
        found = page.evaluate(
            "async model => (await import('./examples.js')).examplesFor(model)",
            {"title": title, "vocabulary": vocabulary},
        )
        assert found == expected


def test_temperature_has_words_and_top_p_is_used(visit, port, sampled):
    page = visit(port)
    words = []
    for temperature in ("0.05", "0.5", "1", "1.2", "2"):
        page.fill("#temperature", temperature)
        words.append(page.locator("#heat").text_content())
        assert page.get_attribute("#temperature", "aria-valuetext") == words[-1]
    assert page.get_attribute("#temperature", "type") == "range"
    assert words == ["0.05, cautious", "0.5, steady", "1, balanced", "1.2, daring", "2, wild"]
    generate(page, "山", 90, topp=0.5, temperature=1.5)
    expect_status(page, "90 characters")
    assert text_of(page) == sampled(90, "山", temperature=1.5, top_p=0.5)
    page.evaluate("location.hash = 's=5&n=30&t=9.5&p=山'")
    expect_status(page, "30 characters")
    expect(page.locator("#heat")).to_have_text("9.5, wild")


def test_language_and_settings_are_remembered(visit, port):
    page = visit(port)
    page.click("#language")
    generate(page, "山", 77, topk=9, topp=0.5, temperature=1.3, until="夜夜夜")
    page.check("#skip")
    page.uncheck("#surprisal")
    page.select_option("#model", "other")
    again = page.context.new_page()
    again.goto(f"http://127.0.0.1:{port}/")
    expect(again.locator("#model")).to_have_value("other")
    expect(again.locator("html")).to_have_attribute("lang", "zh")
    expect(again.locator("#generate")).to_have_text("生成")
    expect(again.locator("#seed")).to_have_attribute("placeholder", "随机")
    kept = {"length": "77", "topk": "9", "topp": "0.5", "temperature": "1.3", "until": "夜夜夜", "seed": ""}
    assert {name: again.input_value(f"#{name}") for name in kept} == kept
    assert again.is_checked("#skip")
    assert not again.is_checked("#surprisal")


def test_damaged_storage_is_ignored(visit, port):
    page = visit(port)
    expect_status(page)
    for value in ("{", "null", "[1]", '{"temperature":"x","stop":5,"language":"xx","model":{}}'):
        for storage, key in (("localStorage", "minichar.settings"), ("sessionStorage", "minichar.texts")):
            page.evaluate(
                "([storage, key, value]) => { window[storage][key] = value }", [storage, key, value]
            )
        page.reload()
        expect_status(page)  # before the page is ready, a click has no effect
        generate(page, "a", 20)
        expect_status(page, "20 characters")


def refuse(status, route):
    body = json.dumps({"error": "no such model", "code": "model_not_found"}) if status == 404 else "x"
    route.fulfill(status=status, body=body)


def test_errors_are_shown_in_the_language_of_the_page(visit, port):
    page = visit(port, locale="zh-CN")
    generate(page, "a☃")
    expect_status(page, "模型的词表中没有以下字符：☃ (U+2603)")
    page.click("#language")
    expect_status(page, "The model does not know these characters: ☃ (U+2603).")
    expect(page.locator("#status")).to_have_class("error")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = false")
    page.evaluate("document.querySelector('#settings').requestSubmit()")
    expect(page.locator("#skip")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("scrollTo(0, 0)")
    page.evaluate("document.querySelector('#settings').requestSubmit()")
    expect(page.locator("#status")).to_be_in_viewport()
    page.click("#language")
    page.check("#skip")
    page.click("#generate")
    expect_status(page, "300 个字符")
    for status, chinese in (
        (429, "请求过多"),
        (503, "服务器繁忙"),
        (502, "服务器返回错误 502"),
        (401, "API 密钥"),
        (404, "该模型已不可用"),
    ):
        page.reload()
        page.route("**/api/generate", partial(refuse, status))
        generate(page, "a")
        expect_status(page, chinese)
        page.unroute("**/api/generate")


def test_no_fragment_causes_an_uncaught_error(visit, port):
    """An uncaught error fails the test when `visit` is torn down."""
    page = visit(port)
    draw = random.Random(5)
    values = ("", "null", "5", "[[1]]", "[null]", '[[1,"a"],[2]]', "{}", '"x"', "%zz", "NaN", "-1", "1e999")
    links = ["%", "#", "s", "s=1&b={", "s=1&b=5", 's=1&b=[[0,"ab"]]', 's=1&b=[[0,{"toString":1}]]', "<a>"]
    for _ in range(200):
        names = draw.sample(["m", "p", "t", "n", "s", "k", "tp", "u", "b", "x", "?"], 4)
        links.append("&".join(f"{name}={draw.choice(values)}" for name in [*names, "s"]))
    page.evaluate("links => { for (const link of links) location.hash = link }", links)
    page.evaluate("location.hash = 's=1&u=null'")
    expect_status(page, "The link or a setting is invalid: Stop string.")
    generate(page, "a", 30)
    expect_status(page, "30 characters")


def test_back_button_and_history_restore_texts(visit, port):
    page = visit(port)
    wait_for_characters(page, 1)  # of the example
    texts = []
    for seed in (5, 6, 7):
        generate(page, "山", 40, seed=seed)
        expect_status(page, f"seed {seed}")
        texts.append(text_of(page))
    page.go_back()
    expect_status(page, "seed 6")
    assert text_of(page) == texts[1]
    page.reload()
    expect_status(page, "seed 6")
    assert text_of(page) == texts[1]
    page.go_forward()
    expect_status(page, "seed 7")
    page.goto(f"http://127.0.0.1:{port}/api/models")
    page.go_back()
    expect_status(page, "seed 7")
    assert text_of(page) == texts[2]
    page.click("#history summary")
    entries = page.locator("#texts button")
    expect(entries).to_have_count(4)  # and the example
    entries.first.click()  # the current text
    expect(entries).to_have_count(4)
    assert text_of(page) == texts[2]
    expect(entries.first).to_have_attribute("aria-current", "true")
    entries.nth(2).click()
    expect_status(page, "seed 5")
    assert text_of(page) == texts[0]
    page.click("#continue")
    expect_status(page, "80 characters, seed 5")
    page.go_back()
    expect_status(page, "seed 7")


def test_unfinished_text_goes_on_after_a_visit_to_another_page(visit, port, sampled):
    page = visit(port)
    generate(page, "山", 1000)
    wait_for_characters(page, 100)
    page.goto(f"http://127.0.0.1:{port}/api/models")
    stored = page.evaluate("JSON.parse(sessionStorage['minichar.texts']).at(-1).text")
    assert len(stored) >= 100
    page.go_back()
    expect_status(page, "1000 characters")
    assert text_of(page) == sampled(1000, "山", temperature=0.8)
