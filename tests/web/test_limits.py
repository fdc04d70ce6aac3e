"""Test the limit on the number of requests that a client may have at the same time."""

import threading

import pytest
from web_helpers import LONG, TIMEOUT, InstantQueue, Sync, client_of, events_of, wait_for

from minichar.web.completions import Completion
from minichar.web.connection import Connection
from minichar.web.details import SIZE, Details
from minichar.web.texts import OVERHEAD

DOCUMENT = {"length": 5, "stream": False}


def start(client, **options):
    """Start a stream, and return the response and the id of its job."""
    response = client.post("/api/generate", json=LONG, **options)
    return response, events_of(response.event()).all[0][2]["job"]


@pytest.fixture
def limited(queue):
    """Client of a server with a limit of one request per client."""
    with client_of(queue, per_client=1) as client:
        yield client


def test_limit_per_client(queue):
    with client_of(queue, per_client=2) as client:
        (first, job), _ = start(client), start(client)
        third = client.post("/api/generate", json={})
        assert (third.status_code, third.headers["Retry-After"]) == (429, "2")
        assert "2 requests" in third.json["error"]
        client.delete(f"/api/generate/{job}")
        first.data  # to the end
        for _ in range(5):  # completed and rejected requests do not count
            assert client.post("/api/generate", json=DOCUMENT).json
            assert client.post("/api/generate", json={"length": 5}).data
            assert client.post("/api/generate", json={"length": -5}).status_code == 400
            assert client.post("/api/generate", json={"prime": "☃"}).status_code == 409


def test_a_job_counts_towards_the_limit_until_it_is_cancelled(limited, monkeypatch):
    """Otherwise, a client could start any number of jobs by repeatedly opening and closing streams."""
    response, job = start(limited)
    response.close()
    assert limited.post("/api/generate", json={}).status_code == 429
    # The stream continues to count as one request.
    resumed = wait_for(lambda: (r := limited.get(f"/api/generate/{job}")).status_code == 200 and r)
    assert limited.get(f"/api/generate/{job}").status_code == 429
    monkeypatch.setattr("minichar.web.texts.ABANDONED_AFTER", 0.1)
    resumed.close()
    wait_for(lambda: limited.post("/api/generate", json=DOCUMENT).status_code == 200)


DOCUMENTS = [
    ("/api/generate", {"length": 6000, "stream": False, "alternatives": True}),
    ("/v1/completions", {"max_tokens": 6000, "logprobs": 5}),
]


def test_a_document_counts_towards_the_limit_until_it_has_been_sent(model):
    path, data = DOCUMENTS[0]
    with client_of(InstantQueue(model), per_client=1) as client:
        sent = client.post(path, json=data)
        assert client.post("/api/generate", json={}).status_code == 429
        page = client.get("/plain")
        assert (page.status_code, page.mimetype, page.headers["Retry-After"]) == (429, "text/html", "2")
        assert "you already have 1 request in progress" in page.text
        assert "请求过多" in page.text
        assert sent.text.endswith("}\n")
        for _ in range(2):  # the page itself counts only until it has been sent
            wait_for(lambda: client.get("/plain").status_code == 200)


def test_the_documents_of_all_clients_are_limited(model, monkeypatch):
    """Otherwise, many clients that read slowly could use up the memory."""
    path, data = DOCUMENTS[1]
    size = OVERHEAD + (4 + SIZE) * 6000
    with client_of(InstantQueue(model)) as client:
        for limit in (size + 1, 2 * size):
            monkeypatch.setattr("minichar.web.delivery.MAX_DOCUMENTS", limit)
            held = [client.post(path, json=data | {"seed": 5}) for _ in range(3)]
            assert [response.status_code for response in held] == [200, 200, 503]
            assert held[2].headers["Retry-After"] == "2"
            assert "too many long texts are in progress: try again later" in held[2].text
            assert "event: end" in client.post("/api/generate", json={"length": 5}).text
            for response in held:
                response.close()
            wait_for(lambda: client.post("/v1/completions", json={"max_tokens": 1}).status_code == 200)


@pytest.mark.parametrize(("path", "data"), DOCUMENTS)
def test_alternatives_are_unpacked_while_the_document_is_sent(model, monkeypatch, path, data):
    unpacked, unpack = [], Details.__iter__
    monkeypatch.setattr(Details, "__iter__", lambda self: unpacked.append(len(self)) or unpack(self))
    full, pause = threading.Event(), Connection.pause_writing
    monkeypatch.setattr(Connection, "pause_writing", lambda self: (pause(self), full.set()))
    with client_of(InstantQueue(model)) as client:
        sent = client.post(path, json=data)
        assert full.wait(TIMEOUT)
        before = sum(unpacked)
        assert sent.json
    assert 100 <= before < sum(unpacked)
    assert set(unpacked) == {100}


def test_a_rejected_document_is_not_generated(limited, queue, monkeypatch):
    monkeypatch.setattr("minichar.web.delivery.MAX_DOCUMENTS", 0)
    for _ in range(2):
        assert limited.post("/api/generate", json=LONG | {"stream": False}).status_code == 503
    wait_for(lambda: Sync(queue).job_counts()["running"] == 0, 2)


def test_a_document_that_cannot_be_built_does_not_count(model, monkeypatch):
    monkeypatch.setattr("minichar.web.delivery.MAX_DOCUMENTS", 1)
    monkeypatch.setattr(Completion, "document", lambda *_: 1 / 0)
    with client_of(InstantQueue(model), per_client=1) as client:
        for _ in range(2):
            response = client.post("/v1/completions", json={"max_tokens": 5})
            assert response.status_code == 500
            assert response.json["error"]["message"] == "internal error: see the server log"


def test_limit_on_the_legacy_routes(limited, queue, monkeypatch):
    monkeypatch.setattr("minichar.web.legacy.LENGTH", 20_000)

    def submit():
        return limited.post("/api", json={"primetext": ""})

    def poll(job):
        return limited.post("/res", json={"sid": job}).json["responds"]

    first = submit().json["sid"]
    assert submit().status_code == limited.post("/api/generate", json={}).status_code == 429
    assert poll(first) == "0"
    assert submit().status_code == 429
    Sync(queue).cancel(first)
    assert poll(first) != "0"
    assert submit().status_code == 200
    assert poll(first) == "0"  # at the limit
    monkeypatch.setattr(queue, "submit", lambda request: pytest.fail("called"))
    assert submit().status_code == 429
