"""Test the server with slow clients, malformed requests and lost connections."""

import json
import socket
from http.client import HTTPConnection

import pytest
from web_helpers import Events, request, server_in_thread, wait_for

from minichar.web import job as job_module
from minichar.web import server
from minichar.web.queue import LocalQueue

POST = b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
BODY = b'{"length": 3, "stream": false }'
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def queue(model):
    return LocalQueue({"toy": model}, columns=8, queue=4, pace=5000)


@pytest.fixture(scope="module")
def port(queue):
    """Port of a server shared by all tests, each of which also checks that the server is still running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "TIMEOUT", 0.25)
        patch.setattr(job_module, "READ_TIMEOUT", 0.1)
        with server_in_thread(queue) as port:
            yield port


def status_line(port, data, half_close=False):
    """Send bytes and return the status line of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has already responded and closed the connection
        answer = b""
        while b"\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
        return answer.partition(b"\r\n")[0].decode()


MALFORMED = {
    "garbage": b"\x00\xff\xfe garbage\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "negative length": POST + b"Content-Length: -5\r\n\r\n{}",
    "length is not a number": POST + b"Content-Length: abc\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "malformed chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "long path": b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70000 + b"\r\n\r\n",
    "long body announced": POST + b"Content-Length: 999999999999\r\n\r\n{",
    "long body sent": POST + b"Content-Length: 200000\r\n\r\n" + b"a" * 200000,
    "long chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"a" * 100000,
    "incomplete request line": b"POST /api/gen",
    "incomplete headers": POST,
    "incomplete body": POST + b"Content-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_return_a_client_error(port, name):
    assert status_line(port, MALFORMED[name]).startswith("HTTP/1.1 4")
    if name.startswith("incomplete"):
        assert status_line(port, MALFORMED[name], half_close=True).startswith("HTTP/1.1 4")
    assert status_line(port, WHOLE) == "HTTP/1.1 200 OK"
    assert status_line(port, WHOLE, half_close=True) == "HTTP/1.1 200 OK"


def test_negative_content_length_is_rejected_without_reading():
    """Some versions of Cheroot accept it, and reading would block until the client disconnects."""
    statuses = []
    app = server.buffer_body(lambda *arguments: pytest.fail("called"))
    environ = {"CONTENT_LENGTH": "-5", "wsgi.input": None}
    assert app(environ, lambda status, headers: statuses.append(status)) == []
    assert statuses == ["400 Bad Request"]


def test_slow_clients_do_not_block_others(queue, monkeypatch):
    monkeypatch.setattr(server, "TIMEOUT", 60)
    local = LocalQueue(queue._models, columns=8, queue=4, pace=5000)
    with server_in_thread(local) as port:
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        for connection in slow:
            connection.sendall(POST[:20])
        assert status_line(port, WHOLE) == "HTTP/1.1 200 OK"  # fails after 15 s if the server blocks
        for connection in slow:
            connection.close()


def test_job_is_cancelled_if_its_client_disconnects(port, queue, monkeypatch):
    before = set(queue._jobs._jobs)
    with request(port, "POST", "/api/generate", {"length": 20000}) as response:
        Events(response).until("text")
    monkeypatch.setattr(job_module, "ABANDONED_AFTER", 0.2)
    wait_for(lambda: queue.job_counts()["running"] == 0)
    (job,) = (job for job_id, job in queue._jobs._jobs.items() if job_id not in before)
    assert job.reason == "cancelled"
    assert len(job.text) < 20000


def test_resuming_after_a_lost_connection(port, sampled):
    with request(port, "POST", "/api/generate", {"length": 1500, "seed": 5}) as response:
        first = Events(response)
        job = first.until("begin")[2]["job"]
        known = first.until("text")[1]
    with request(port, "GET", f"/api/generate/{job}", Last_Event_ID=str(known)) as response:
        rest = Events(response).rest()
    assert first.text + rest.text == sampled(1500)


def test_keep_alive_connection(port):
    connection = HTTPConnection("127.0.0.1", port)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert json.load(connection.getresponse())["status"] == "ok"
    connection.close()


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9")),
        *((host, False) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org", "")),
    ],
)
def test_is_loopback(host, loopback):
    assert server.is_loopback(host) == loopback
