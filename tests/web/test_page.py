"""Test the web page in Chromium."""

import json

import optional
import pytest
from page_helpers import LONG, SLOWLY, expect_status, generate, show_surprisal, text_of, wait_for_characters
from web_helpers import wait_for

from minichar.web import texts

expect = optional.playwright().expect


@SLOWLY
def test_stop_and_continue(visit, port, sampled):
    page = visit(port)
    generate(page, "山中", LONG)
    wait_for_characters(page, 100)
    page.click("#stop")
    expect_status(page, "Stopped")
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
    page = visit(port)
    generate(page, "a", 100)
    expect_status(page)
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
    page = visit(port)
    generate(page, "山", 200, temperature=0.6)
    expect_status(page)
    show_surprisal(page, 200)
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
    expect_status(shared, "已达到长度上限")
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


def test_a_restarted_text_has_a_notice(visit, port):
    page = visit(port)
    expect_status(page)
    events = [
        ("begin", {"job": "x", "model": "toy", "seed": 5, "from": 0}),
        ("notice", {"what": "restarted"}),
        ("text", {"text": "a"}),
        ("end", {"reason": "length"}),
    ]
    body = "".join(f"event: {name}\nid: 0\ndata: {json.dumps(data)}\n\n" for name, data in events)
    page.route("**/api/generate", lambda route: route.fulfill(content_type="text/event-stream", body=body))
    page.evaluate(
        """() => {
            const status = document.getElementById("status");
            window.seen = [];
            new MutationObserver(() => seen.push(status.textContent)).observe(status, { childList: true });
        }"""
    )
    generate(page, "a", 20)
    expect_status(page)
    assert "A worker failed. Another worker has taken over." in page.evaluate("seen")


@SLOWLY
@pytest.mark.parametrize(
    "leave", [lambda page: page.click("#stop"), lambda page: page.close(run_before_unload=True)]
)
def test_stopping_or_leaving_cancels_the_job(visit, port, demo, leave, monkeypatch):
    monkeypatch.setattr(texts, "ABANDONED_AFTER", 1e9)
    page = visit(port)
    generate(page, "a", LONG)
    wait_for_characters(page, 10)
    running = list(demo.texts.values())[-1]
    assert running.reason is None
    leave(page)
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
