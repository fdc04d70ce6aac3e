"""Test exceptions and notices while text is streamed."""

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


def test_an_unexpected_key_error_is_no_missing_job(queue, monkeypatch, caplog):
    async def fail():
        return {}["boom"]

    monkeypatch.setattr(queue, "models", fail)
    with client_of(queue) as client:
        response = client.get("/api/models")
        assert (response.status_code, response.json["error"]) == (500, "internal error: see the server log")
    assert "KeyError: 'boom'" in caplog.text


def test_failover_notices_and_errors_are_sent_to_the_client(queue, monkeypatch):
    async def running(job):
        return None

    failed, restarted = Update("", Details(), 2, "error", "damaged"), Update("", Details(), 2, restarted=True)
    monkeypatch.setattr(queue, "follow", following(None, Update("ab", Details(), 2), restarted, failed))
    monkeypatch.setattr(queue, "position", running)
    with client_of(queue) as client:
        response = client.post("/api/generate", json={"seed": 1})
        assert b"\n: keep-alive\n\n" in response.data  # reveals whether the client has disconnected
        assert [(name, data) for name, _, data in events_of(response).all[1:]] == [
            ("text", {"text": "ab"}),
            ("notice", {"what": "restarted"}),
            ("end", {"reason": "error", "error": "damaged"}),
        ]
        document = client.post("/api/generate", json={"seed": 1, "stream": False}).json
    assert (document["text"], document["reason"], document["error"]) == ("ab", "error", "damaged")
