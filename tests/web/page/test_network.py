"""Test in Chromium that the text goes on after interruptions, and what the page shows while it waits."""

import socket
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from unittest.mock import Mock

import optional
import pytest
from page_helpers import LONG, SLOWLY, expect_status, generate, text_of, wait_for_characters
from web_helpers import Events, local_queue, request, server_in_thread, wait_for

from minichar.web import texts
from minichar.web.errors import Unavailable

expect = optional.playwright().expect


class Network:
    """A network between the page and the server: a TCP proxy that can lose connections or fall silent."""

    def __init__(self, target):
        self.target, self.sockets = target, set()
        self.open, self.flowing = threading.Event(), threading.Event()
        self.open.set()
        self.flowing.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if not self.open.is_set():
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self.target))
                self.sockets |= {client, server}
                for a, b in ((client, server), (server, client)):
                    threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    def copy(self, source, sink):
        with suppress(OSError):
            while data := source.recv(65536):
                self.flowing.wait()
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def lose(self):
        """Close all connections, and refuse new ones until `open` is set."""
        self.open.clear()
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.flowing.set()
        self.lose()
        self.listener.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
def network(port):
    network = Network(port)
    yield network
    network.close()


def test_text_goes_on_after_a_gap_in_which_the_server_has_cancelled_the_job(
    visit, network, demo, sampled, monkeypatch
):
    page = visit(network.port)
    generate(page, "山", 5000)
    wait_for_characters(page, 100)
    running = list(demo.texts.values())[-1]
    monkeypatch.setattr(texts, "ABANDONED_AFTER", 0.2)
    network.lose()
    expect_status(page, "Connection lost")
    assert wait_for(lambda: running.reason) == "cancelled"
    monkeypatch.undo()
    network.open.set()
    expect_status(page, "5000 characters")
    assert text_of(page) == sampled(5000, "山", temperature=0.8)


def test_text_that_ends_during_a_gap_is_shown_in_full(visit, network, demo, sampled, monkeypatch):
    monkeypatch.setattr(texts, "ABANDONED_AFTER", 1e9)
    page = visit(network.port)
    generate(page, "山", 1000)
    wait_for_characters(page, 100)
    running = list(demo.texts.values())[-1]
    network.lose()
    assert running.reason is None
    assert wait_for(lambda: running.reason) == "length"
    requests = []
    page.on("request", lambda request: requests.append(request.method))
    network.open.set()
    expect_status(page, "1000 characters, seed 5")
    assert text_of(page) == sampled(1000, "山", temperature=0.8)
    assert set(requests) == {"GET"}  # the text is not generated again


def test_text_goes_on_if_a_connection_falls_silent(visit, network, sampled):
    page = visit(network.port)
    page.clock.install()
    generate(page, "山", 3000)
    wait_for_characters(page, 100)
    network.flowing.clear()
    page.clock.fast_forward(11_000)
    expect_status(page, "Connection lost")
    network.flowing.set()
    expect_status(page, "3000 characters")
    assert text_of(page) == sampled(3000, "山", temperature=0.8)


def test_page_says_that_it_is_offline(visit, network, sampled):
    page = visit(network.port)
    generate(page, "山", 3000)
    wait_for_characters(page, 100)
    page.context.set_offline(True)
    network.lose()
    expect(page.locator("#status")).to_have_text(
        "You are offline. Generation resumes when you are back online."
    )
    expect(page.locator("#status")).to_have_class("error")
    page.context.set_offline(False)
    network.open.set()
    expect_status(page, "3000 characters")
    assert text_of(page) == sampled(3000, "山", temperature=0.8)


def test_link_is_opened_when_the_first_worker_has_started(visit, port, sampled):
    page = visit(port)
    page.route("**/api/models", lambda route: route.fulfill(json={"models": []}))
    page.reload()
    expect_status(page, "No worker is running")
    page.evaluate("location.hash = 's=5&n=40&p=a&t=1'")
    page.unroute("**/api/models")
    expect_status(page, "40 characters")
    assert text_of(page) == sampled(40, "a")


def reply(answer, route):
    route.fulfill(**answer)


def test_page_says_why_it_cannot_load_the_models(visit, port, demo, monkeypatch):
    first = visit(port)
    expect_status(first)
    page = first.context.new_page()
    monkeypatch.setattr(demo, "models", Mock(side_effect=Unavailable("Redis is not responding")))
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.locator("#status")).to_have_text("The service is temporarily unavailable. Retrying…")
    page.click("#language")
    expect(page.locator("#status")).to_have_text("服务暂时不可用，正在重试……")
    expect(page.locator("#status")).to_have_class("error")
    monkeypatch.undo()
    expect_status(page, "已完成")  # of the example
    page.click("#language")
    for answer, words in (
        ({"status": 502, "body": "<html>"}, "The server returned error 502. Retrying…"),
        ({"status": 200, "body": "<html>"}, "The server cannot be reached. Retrying…"),
        ({"status": 401, "json": {"error": "x"}}, "This server requires an API key"),
    ):
        page = first.context.new_page()
        page.route("**/api/models", partial(reply, answer))
        page.goto(f"http://127.0.0.1:{port}/")
        expect_status(page, words)


@contextmanager
def busy_server(model):
    """Serve with one column, taken by a long text. Yield the queue, the port and the id of its job."""
    queue = local_queue({"toy": model}, columns=1, pace=1000)
    with ExitStack() as stack:
        port = stack.enter_context(server_in_thread(queue))
        response = stack.enter_context(request(port, "POST", "/api/generate", {"length": LONG}))
        yield queue, port, Events(response).until("begin")[2]["job"]


def test_page_says_for_what_it_waits(visit, model, monkeypatch):
    gone = Mock(side_effect=Unavailable("no worker"))
    with busy_server(model) as (queue, port, job_id):
        pages = [visit(port)]
        expect_status(pages[0], "Waiting. Position in the queue: 1.")
        pages.append(visit(port))
        expect_status(pages[1], "Waiting. Position in the queue: 2.")
        monkeypatch.setattr(queue, "position", gone)
        expect_status(pages[0], "No worker is running")
        expect(pages[0].locator("#status")).to_have_class("error")
        monkeypatch.undo()
        with request(port, "DELETE", f"/api/generate/{job_id}"):
            pass
        for page in pages:
            expect_status(page, "500 characters")
        monkeypatch.setattr(queue, "submit", gone)
        generate(page, "a")
        expect_status(page, "The service is temporarily unavailable")
        monkeypatch.undo()
        expect_status(page, "300 characters")


REJECTED = """() => {
    window.fetch = async (_, { signal }) => {
        const start = (body) => signal?.addEventListener("abort", () => body.error(signal.reason));
        window.rejected = true;
        return new Response(new ReadableStream({ start }), { status: 503 });
    };
}"""


def test_a_rejection_that_arrives_after_stop_is_not_shown(visit, port):
    """The body of the rejection is so slow that the visitor stops the text before it is complete."""
    page = visit(port)
    expect_status(page)
    page.evaluate(REJECTED)
    generate(page, "a")
    wait_for(lambda: page.evaluate("window.rejected") or page.wait_for_timeout(20))
    page.click("#stop")
    page.wait_for_timeout(100)
    expect_status(page, "Stopped: 0 characters")


@SLOWLY
def test_an_unchanged_status_is_not_written_again(visit, port):
    """A screen reader announces the status each time that it is written."""
    page = visit(port)
    generate(page, "a", LONG)
    expect_status(page, "Generating…")
    page.evaluate(
        """() => {
            window.changes = 0;
            const status = document.getElementById("status");
            new MutationObserver(() => changes++).observe(status, { childList: true, characterData: true });
        }"""
    )
    n = page.locator("#text [data-i]").count()
    wait_for_characters(page, n + 500)
    assert page.evaluate("changes") == 0
    page.click("#stop")
    expect_status(page, "Stopped")
    assert page.evaluate("changes") == 1


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


def test_what_is_written_while_the_models_are_loading_is_kept(visit, port):
    """No model is remembered before that, and no example replaces the prompt."""
    page, release = another_tab(visit(port))
    page.fill("#temperature", "1")
    page.fill("#prime", "山")
    assert "model" not in page.evaluate(SETTINGS)
    release()
    expect(page.locator("#prime")).to_have_value("山")
    expect(page.locator("#text")).to_be_empty()


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
    expect(page.locator("#status")).to_have_text("Finished: 30 characters, seed 5.")
