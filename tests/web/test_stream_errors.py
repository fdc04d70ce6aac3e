"""Test exceptions and notices while text is streamed."""

import json

import pytest
from web_helpers import client_of, events_of, following

from minichar.web.details import Details
from minichar.web.errors import NoSuchJob
from minichar.web.update import Update


@pytest.fixture
def post(queue):
    """Return a function that sends a request to a server, and returns the response with its whole text."""

    def post(path="/api/generate", data=()):
        with client_of(queue) as client:
            response = client.post(path, json=dict(data))
            assert response.data
            return response

    return post


async def fail(*_):
    return 1 / 0


@pytest.mark.parametrize("update", [None, ZeroDivisionError()], ids=["waiting", "generating"])
def test_any_exception_reaches_the_reader(queue, post, monkeypatch, caplog, update):
    monkeypatch.setattr(queue, "follow", following(Update("ab", Details(), 2), update))
    monkeypatch.setattr(queue, "position", fail)
    last = events_of(post()).all[-1]
    assert last == ("end", 2, {"reason": "error", "error": "internal error: see the server log"})
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/api/generate", {"alternatives": True}),
        ("/v1/completions", {"logprobs": 1, "stream": True, "prompt": "a", "echo": True}),
    ],
)
def test_any_exception_while_formatting_events_reaches_the_reader(post, monkeypatch, caplog, path, data):
    """Otherwise, the connection would break, and the page would reconnect for ever."""
    monkeypatch.setattr(Details, "__iter__", lambda self: 1 / 0 if self.packed else iter(()))
    first, last = post(path, data).text.rstrip("\n").split("\n\n")
    assert '"job"' in first or '"text": "a"' in first
    assert "internal error: see the server log" in last
    assert "ZeroDivisionError" in caplog.text


def test_a_job_that_expires_has_no_notice(queue, post, monkeypatch):
    async def expired(job):
        raise NoSuchJob

    monkeypatch.setattr(queue, "follow", following(None, Update("", Details(), 0, "closing")))
    monkeypatch.setattr(queue, "position", expired)
    assert ": keep-alive\n\nevent: end\n" in post().text


def test_failover_notices_and_errors_are_sent_to_the_client(queue, post, monkeypatch):
    async def running(job):
        return None

    failed, restarted = Update("", Details(), 2, "error", "damaged"), Update("", Details(), 2, restarted=True)
    monkeypatch.setattr(queue, "follow", following(None, Update("ab", Details(), 2), restarted, failed))
    monkeypatch.setattr(queue, "position", running)
    response = post()
    assert b"\n: keep-alive\n\n" in response.data  # reveals whether the client has disconnected
    assert [(name, data) for name, _, data in events_of(response).all[1:]] == [
        ("text", {"text": "ab"}),
        ("notice", {"what": "restarted"}),
        ("end", {"reason": "error", "error": "damaged"}),
    ]


@pytest.mark.parametrize(
    ("reason", "error", "status", "chinese"),
    [
        ("error", "no memory", 500, "生成失败"),
        ("closing", "", 503, "已中断"),
        ("cancelled", "", 503, "已中断"),
    ],
)
def test_a_text_that_does_not_end_normally(queue, monkeypatch, reason, error, status, chinese):
    updates = [None, Update("ab", Details(), 2), Update("", Details(), 2, reason, error)]
    monkeypatch.setattr(queue, "follow", following(*updates))
    message = error or "generation was interrupted"
    with client_of(queue) as client:
        document = client.post("/api/generate", json={"stream": False}).json
        assert (document["text"], document["reason"], document.get("error", "")) == ("ab", reason, error)
        completion = client.post("/v1/completions", json={})
        assert (completion.status_code, completion.json["error"]["type"]) == (status, "server_error")
        assert message in completion.json["error"]["message"]
        *_, text, last, end = client.post("/v1/completions", json={"stream": True}).text.split("\n\n")
        assert json.loads(text.removeprefix("data: "))["choices"][0]["text"] == "ab"
        assert message in json.loads(last.removeprefix("data: "))["error"]["message"]
        assert end == ""
        page = client.get("/plain")
        assert page.status_code == status
        assert "</span>ab</div>" in page.text
        shown = page.text.partition('class="error">')[2].partition("</p>")[0]
        assert message in shown
        assert chinese in shown
