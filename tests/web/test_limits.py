"""Test the limit on the number of requests that a client may have at the same time."""

import json
import time

import pytest
from web_helpers import LONG, wait_for

from minichar.web.app import create_app
from minichar.web.completions import Completion
from minichar.web.delivery import PART
from minichar.web.details import SIZE
from minichar.web.job import ABANDONED_AFTER
from minichar.web.jobs import OVERHEAD
from minichar.web.queue import LocalQueue
from minichar.web.rate_limit import ConcurrencyLimit
from minichar.web.request import Request
from minichar.web.scheduler import Scheduler


def start(client, **environ):
    """Start a stream, and return the response and the id of its job."""
    response = client.post("/api/generate", json=LONG, **environ)
    return response, json.loads(next(response.response).decode().partition("data: ")[2])["job"]


def test_limit_per_client(queue):
    client = create_app(queue, per_client=2).test_client()
    (first, job), (second, _) = start(client), start(client)
    document = {"length": 5, "stream": False}
    third = client.post("/api/generate", json={})
    assert (third.status_code, third.headers["Retry-After"]) == (429, "2")
    assert "2 requests" in third.json["error"]
    first.close()
    client.delete(f"/api/generate/{job}")
    for _ in range(5):  # completed and rejected requests do not count
        assert client.post("/api/generate", json=document, buffered=True).status_code == 200
        assert client.post("/api/generate", json={"length": 5}).data
        assert client.post("/api/generate", json={"length": -5}).status_code == 400
    second.close()


def test_limit_for_all_clients(queue):
    """Only requests in progress count, because a job without a reader occupies no thread."""
    client = create_app(queue, total=1).test_client()
    first, _ = start(client)
    other = {"environ_base": {"REMOTE_ADDR": "10.0.0.2"}}
    rejected = client.post("/api/generate", json={}, **other)
    assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "2")
    assert rejected.json["error"] == "too many requests are in progress: try again later"
    first.close()
    assert sum(queue.job_counts().values()) == 1
    second, _ = start(client, **other)
    second.close()


def test_a_page_with_a_complete_text_does_not_count(queue):
    client = create_app(queue, per_client=1).test_client()
    assert [client.get("/plain").status_code for _ in range(2)] == [200, 200]


def test_a_job_counts_towards_the_limit_until_it_is_cancelled(queue, monkeypatch):
    """Otherwise, a client could start any number of jobs by repeatedly opening and closing streams."""
    client, document = create_app(queue, per_client=1).test_client(), {"length": 5, "stream": False}
    response, job = start(client)
    response.close()
    assert client.post("/api/generate", json={}).status_code == 429
    resumed = client.get(f"/api/generate/{job}")  # continues to count as one request
    assert resumed.status_code == 200
    assert client.get(f"/api/generate/{job}").status_code == 429
    monkeypatch.setattr("minichar.web.rate_limit.ABANDONED_AFTER", 0.1)
    monkeypatch.setattr("minichar.web.rate_limit.MARGIN", 0.0)
    resumed.close()
    wait_for(lambda: client.post("/api/generate", json=document, buffered=True).status_code == 200)
    client.post("/api/generate", json={"length": 5}).close()  # without reading
    wait_for(lambda: client.post("/api/generate", json=document, buffered=True).status_code == 200)


def test_an_abandoned_job_counts_until_a_worker_has_cancelled_it():
    slot = ConcurrencyLimit(1).acquire("client", "job")
    slot.close()
    assert slot.expires > time.monotonic() + ABANDONED_AFTER + 1


def test_a_job_that_cannot_be_started_is_removed(model, monkeypatch):
    queue = LocalQueue({"toy": model}, columns=1, queue=4, pace=100)
    monkeypatch.setattr(Scheduler, "submit", None)  # raises a TypeError
    with pytest.raises(TypeError):
        queue.submit(Request.from_json({}))
    assert queue._jobs._jobs == {}
    queue.close()


def test_a_waiting_job_counts_towards_the_limit(model):
    queue = LocalQueue({"toy": model}, columns=1, queue=4, pace=100)
    client = create_app(queue, per_client=1).test_client()
    others = client.post("/api/generate", json=LONG, environ_base={"REMOTE_ADDR": "10.0.0.2"})
    with others, client.post("/api/generate", json=LONG) as waiting:
        assert waiting.status_code == 200
        wait_for(lambda: queue.job_counts() == {"running": 1, "waiting": 1})
        assert client.post("/api/generate", json=LONG).status_code == 429
    queue.close()


def test_a_document_counts_towards_the_limit_until_it_has_been_sent(queue):
    client = create_app(queue, per_client=1).test_client()
    sent = client.post("/api/generate", json={"length": 3000, "alternatives": True, "stream": False})
    parts = iter(sent.response)
    document = next(parts)
    assert client.post("/api/generate", json={}).status_code == 429
    page = client.get("/plain")
    assert (page.status_code, page.mimetype, page.headers["Retry-After"]) == (429, "text/html", "2")
    assert "you already have 1 request in progress" in page.text
    assert "请求过多" in page.text
    assert len(json.loads(document + b"".join(parts))["details"]) == 3000
    sent.close()
    assert client.post("/api/generate", json={"length": 1, "stream": False}).json["text"]


@pytest.mark.parametrize(
    ("path", "data", "size"),
    [
        ("/api/generate", {"length": 99, "stream": False}, OVERHEAD + 4 * 99),
        ("/v1/completions", {"max_tokens": 99}, OVERHEAD + 4 * 99),
        ("/api/generate", {"length": 99, "stream": False, "alternatives": True}, OVERHEAD + (4 + SIZE) * 99),
        ("/v1/completions", {"max_tokens": 99, "logprobs": 1}, OVERHEAD + (4 + SIZE) * 99),
    ],
)
def test_the_documents_of_all_clients_are_limited(queue, monkeypatch, path, data, size):
    """Otherwise, many clients that read slowly could use up the memory."""
    client = create_app(queue).test_client()
    for limit in (size + 1, 2 * size):
        monkeypatch.setattr("minichar.web.delivery.MAX_DOCUMENTS", limit)
        held = [client.post(path, json=data | {"seed": 5}) for _ in range(3)]
        assert [response.status_code for response in held] == [200, 200, 503]
        assert held[2].headers["Retry-After"] == "2"
        assert "too many long texts are in progress: try again later" in held[2].text
        assert "event: end" in client.post("/api/generate", json={"length": 5}).text
        for response in held:
            response.close()
        with client.post(path, json=data) as sent:
            assert sent.status_code == 200


def test_a_rejected_document_is_not_generated(queue, monkeypatch):
    monkeypatch.setattr("minichar.web.delivery.MAX_DOCUMENTS", 0)
    client = create_app(queue, per_client=1).test_client()
    for _ in range(2):
        assert client.post("/api/generate", json=LONG | {"stream": False}).status_code == 503
    assert [job.reason for job in queue._jobs._jobs.values()] == ["cancelled", "cancelled"]


def test_a_document_without_alternatives_has_a_length(queue):
    """Waitress would otherwise close the connection after each document."""
    client = create_app(queue).test_client()
    with client.post("/v1/completions", json={"max_tokens": 20000, "seed": 5}) as sent:
        parts = [part.decode() for part in sent.response]
        assert sent.content_length == sum(map(len, parts)) > PART
        assert {len(part) for part in parts[:-1]} == {PART}
        assert parts[-1].endswith("}\n")


def test_a_document_that_cannot_be_built_does_not_count(queue, monkeypatch):
    client = create_app(queue, per_client=1).test_client()
    monkeypatch.setattr("minichar.web.delivery.MAX_DOCUMENTS", 1)
    monkeypatch.setattr(Completion, "document", lambda *_: 1 / 0)
    for _ in range(2):
        assert client.post("/v1/completions", json={"max_tokens": 5}).status_code == 500


def test_limit_on_the_legacy_routes(queue, monkeypatch):
    monkeypatch.setattr("minichar.web.legacy.LENGTH", 5000)
    client = create_app(queue, per_client=1).test_client()

    def submit():
        return client.post("/api", json={"primetext": ""})

    first = submit().json["sid"]
    assert submit().status_code == client.post("/api/generate", json={}).status_code == 429
    assert client.post("/res", json={"sid": first}).json["responds"] == "0"
    assert submit().status_code == 429
    wait_for(lambda: client.post("/res", json={"sid": first}).json["responds"] != "0")
    assert submit().status_code == 200
    assert client.post("/res", json={"sid": first}).json["responds"] == "0"  # at the limit
    monkeypatch.setattr(queue, "submit", lambda request: pytest.fail("called"))
    assert submit().status_code == 429


def test_each_client_and_each_ipv6_network_has_its_own_limit(queue):
    client = create_app(queue, per_client=1).test_client()
    held = []
    for address, status in (
        ("10.0.0.1", 200),
        ("10.0.0.2", 200),
        ("10.0.0.1", 429),
        ("2001:db8::1", 200),
        ("2001:db8::f:2", 429),
        ("2001:db8:0:1::1", 200),
        ("::ffff:10.0.0.3", 200),
        ("::ffff:10.0.0.4", 200),
        ("10.0.0.4", 429),
    ):
        held.append(client.post("/api/generate", json=LONG, environ_base={"REMOTE_ADDR": address}))
        assert held[-1].status_code == status
    for response in held:
        response.close()
