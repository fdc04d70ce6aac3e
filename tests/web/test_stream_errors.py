"""Test exceptions and notices while text is streamed."""

import pytest
from web_helpers import events_of

from minichar.web.app import create_app
from minichar.web.details import Details
from minichar.web.job import Update


def test_any_exception_while_generating_reaches_the_reader(queue, monkeypatch, caplog):
    def fail(job, after):
        yield Update("ab", Details(), 2)
        raise RuntimeError("boom")

    monkeypatch.setattr(queue, "follow", fail)
    last = events_of(create_app(queue).test_client().post("/api/generate", json={})).all[-1]
    assert last == ("end", 2, {"reason": "error", "error": "internal error: see the server log"})
    assert "boom" in caplog.text


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/api/generate", {"alternatives": True}),
        ("/v1/completions", {"logprobs": 1, "stream": True, "prompt": "a", "echo": True}),
    ],
)
def test_any_exception_while_formatting_events_reaches_the_reader(queue, monkeypatch, caplog, path, data):
    """Otherwise, the connection would break, and the page would reconnect for ever."""
    monkeypatch.setattr(Details, "__iter__", lambda self: 1 / 0 if self.packed else iter(()))
    response = create_app(queue).test_client().post(path, json=data)
    first, last = response.text.rstrip("\n").split("\n\n")
    assert '"job"' in first or '"text": "a"' in first
    assert "internal error: see the server log" in last
    assert "ZeroDivisionError" in caplog.text


def test_an_exception_while_a_job_waits_reaches_the_reader(queue, monkeypatch, caplog):
    monkeypatch.setattr(queue, "follow", lambda job, after: iter([Update("ab", Details(), 2), None]))
    monkeypatch.setattr(queue, "position", lambda job: 1 / 0)
    last = events_of(create_app(queue).test_client().post("/api/generate", json={})).all[-1]
    assert last == ("end", 2, {"reason": "error", "error": "internal error: see the server log"})
    assert "ZeroDivisionError" in caplog.text


def test_a_job_that_expires_has_no_notice(queue, monkeypatch):
    def expired(job):
        raise KeyError(job)

    updates = [None, Update("", Details(), 0, "closing")]
    monkeypatch.setattr(queue, "follow", lambda job, after: iter(updates))
    monkeypatch.setattr(queue, "position", expired)
    response = create_app(queue).test_client().post("/api/generate", json={})
    assert ": keep-alive\n\nevent: end\n" in response.text


def test_failover_notices_and_errors_are_sent_to_the_client(queue, monkeypatch):
    failed, restarted = Update("", Details(), 2, "error", "damaged"), Update("", Details(), 2, restarted=True)
    updates = [None, Update("ab", Details(), 2), restarted, failed]
    monkeypatch.setattr(queue, "follow", lambda job, after: iter(updates))
    monkeypatch.setattr(queue, "position", lambda job: None)
    client = create_app(queue).test_client()
    response = client.post("/api/generate", json={"seed": 1})
    assert b"\n: keep-alive\n\n" in response.data  # reveals whether the client has disconnected
    assert [(name, data) for name, _, data in events_of(response).all[1:]] == [
        ("text", {"text": "ab"}),
        ("notice", {"what": "restarted"}),
        ("end", {"reason": "error", "error": "damaged"}),
    ]
    document = client.post("/api/generate", json={"seed": 1, "stream": False}).json
    assert (document["text"], document["reason"], document["error"]) == ("ab", "error", "damaged")
