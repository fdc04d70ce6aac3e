"""Test in Chromium what the page shows and keeps while the models are loading, or if a module is missing."""

import optional
from page_helpers import LONG, SLOWLY, expect_status, generate, wait_for_characters
from web_helpers import wait_for

expect = optional.playwright().expect
SETTINGS = "JSON.parse(localStorage['minichar.settings'])"


def another_tab(first):
    """Open the page in another tab. Return the new page, and a function that lets it have the models."""
    held, page = [], first.context.new_page()
    page.route("**/api/models", lambda route: held.append(route), times=1)
    page.goto(first.url)
    wait_for(lambda: held or page.wait_for_timeout(20))

    def release():
        held[0].continue_()
        expect(page.locator("#model option").first).to_be_attached()
        page.wait_for_timeout(100)

    return page, release


def test_a_change_while_the_models_are_loading_keeps_the_other_settings(visit, port):
    page = visit(port)
    generate(page, "a", 30, topk=9, temperature=1.3)
    expect_status(page, "30 characters")
    page.check("#surprisal")
    page.select_option("#model", "other")
    kept = page.evaluate(SETTINGS)
    page, release = another_tab(page)
    expect(page.locator("#heat")).to_have_text("1.3, daring")
    page.evaluate("document.getElementById('more').open = true")
    page.fill("#length", "55")
    page.press("#length", "Tab")
    release()
    expect(page.locator("#model")).to_have_value("other")
    expect(page.locator("#length")).to_have_value("55")
    expect(page.locator("#topk")).to_have_value("9")
    assert page.is_checked("#surprisal")
    assert page.evaluate(SETTINGS) == kept | {"length": 55}


def test_no_model_is_remembered_before_the_models_are_loaded(visit, port):
    page, release = another_tab(visit(port))
    page.fill("#temperature", "1")
    assert "model" not in page.evaluate(SETTINGS)
    release()


@SLOWLY
def test_a_text_that_was_started_while_the_models_were_loading_goes_on(visit, port):
    page, release = another_tab(visit(port))
    methods = []
    page.on("request", lambda request: "/api/generate" in request.url and methods.append(request.method))
    generate(page, "山", LONG)
    wait_for_characters(page, 10)
    page.fill("#prime", "a prompt for later")
    release()
    wait_for_characters(page, 100)
    expect(page.locator("#text .prime")).to_have_text("山")
    expect(page.locator("#prime")).to_have_value("a prompt for later")
    assert methods == ["POST"]
    page.click("#stop")


def test_a_text_is_not_said_to_wait_for_a_worker_while_only_the_list_of_models_does(visit, port):
    page = visit(port).context.new_page()
    lists = []
    page.route(
        "**/api/models", lambda route: lists.append(route) or route.fulfill(json={"models": []}), times=2
    )
    page.goto(f"http://127.0.0.1:{port}/")
    expect_status(page, "No worker is running")
    generate(page, "a", 30)
    expect_status(page, "30 characters")
    expect(page.locator("#model option").first).to_be_attached()
    assert len(lists) == 2
    expect_status(page, "30 characters")


def test_the_example_does_not_replace_a_prompt_that_is_being_written(visit, port):
    page, release = another_tab(visit(port))
    page.fill("#prime", "山")
    release()
    expect(page.locator("#prime")).to_have_value("山")
    expect(page.locator("#text")).to_be_empty()


@SLOWLY
def test_a_link_to_a_missing_model_says_so_while_the_text_is_generated(visit, port):
    page = visit(port, f"#s=5&n={LONG}&m=gone&p=a")
    wait_for_characters(page, 10)
    missing = "The model in this link is not available. Using the default model. "
    expect(page.locator("#status")).to_have_text(missing + "Generating…")
    page.click("#language")
    expect(page.locator("#status")).to_have_text("链接中的模型不可用，已改用默认模型。正在生成……")
    page.click("#language")
    page.click("#stop")
    expect_status(page, missing + "Stopped")
    page.click("#copy")
    expect(page.locator("#status")).to_have_text("Copied to the clipboard.")
    generate(page, "a", 30)
    expect(page.locator("#status")).to_have_text("Length limit reached: 30 characters, seed 5.")


def test_english_is_shown_if_a_module_is_missing(chromium, port):
    context = chromium.new_context()
    page = context.new_page()
    page.route("**/stream.js", lambda route: route.abort())
    page.goto(f"http://127.0.0.1:{port}/")
    shown = page.evaluate("""() => {
        const words = (name, content) => Array.from(
            document.querySelectorAll(`[data-${name}]`), (each) => [each.dataset[name], content(each)]);
        return [
            ...words("word", (each) => each.textContent),
            ...words("placeholder", (each) => each.placeholder),
            ...words("label", (each) => each.ariaLabel),
        ];
    }""")
    english = page.evaluate("async () => (await import('./words.js')).words.en")
    assert len(shown) > 25
    assert shown == [[key, english[key]] for key, _ in shown]
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    context.close()
