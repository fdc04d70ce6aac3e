"""The server on a real socket, with visitors that are slow, wrong, or gone."""

import json
import socket
import threading
import time
from http.client import HTTPConnection

import pytest
from visiting import Events, asked, patiently

from minichar.web import scheduler, server
from minichar.web.app import make_app

POST = b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ASK = b'{"length": 3, "stream": false }'


@pytest.fixture
def port(desk, monkeypatch):
    """A server in a thread of this process, soon out of patience."""
    monkeypatch.setattr(server, "TIMEOUT", 1)
    monkeypatch.setattr(scheduler, "ABANDONED", 2.5)
    monkeypatch.setattr(server, "interruptible", stopping := Stopping())
    ready, addresses = threading.Event(), []

    def on_ready(address):
        addresses.append(address)
        ready.set()

    thread = threading.Thread(
        target=server.serve, args=(make_app(desk), "127.0.0.1", 0, 12, on_ready, desk.close)
    )
    made = []
    monkeypatch.setattr(server, "Server", lambda *a, **k: made.append(Cheroot(*a, **k)) or made[-1])
    Cheroot = stopping.cheroot
    thread.start()
    assert ready.wait(10)
    yield int(addresses[0].rpartition(":")[2].rstrip("/"))
    made[0].interrupt = KeyboardInterrupt()
    thread.join(20)
    assert not thread.is_alive()


class Stopping:
    """In a thread there are no signals."""

    def __init__(self):
        from cheroot.wsgi import Server

        self.cheroot = Server

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return False


def raw(port, data, half=False):
    """Send bytes, and perhaps no more to come; return the status line of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        try:
            connection.sendall(data)
            if half:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has seen enough
        answer = b""
        while b"\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
        return answer.partition(b"\r\n")[0].decode()


def still_serves(port):
    return raw(port, POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(ASK) + ASK)


MALFORMED = {
    "garbage": b"\x00\xff\xfe garbage\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "length less than nothing": POST + b"Content-Length: -5\r\n\r\n{}",
    "length no number": POST + b"Content-Length: abc\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "chunk no chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "long path": b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70000 + b"\r\n\r\n",
    "long body said": POST + b"Content-Length: 999999999999\r\n\r\n{",
    "long body sent": POST + b"Content-Length: 200000\r\n\r\n" + b"a" * 200000,
    "long chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"a" * 100000,
    "stops in the line": b"POST /api/gen",
    "stops in the headers": POST,
    "stops in the body": POST + b"Content-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_request_gets_a_4xx_and_the_server_goes_on(port, name):
    assert raw(port, MALFORMED[name])[:10] == "HTTP/1.1 4"
    assert still_serves(port) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize("name", [name for name in MALFORMED if name.startswith("stops")])
def test_half_closed(port, name):
    assert raw(port, MALFORMED[name], half=True)[:10] == "HTTP/1.1 4"
    whole = POST + b"Content-Length: %d\r\n\r\n" % len(ASK) + ASK
    assert raw(port, whole, half=True) == "HTTP/1.1 200 OK"
    assert still_serves(port) == "HTTP/1.1 200 OK"


def test_slow_visitors_hold_up_nobody(port):
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    for connection in slow:
        connection.sendall(POST[:20])
    began = time.monotonic()
    assert still_serves(port) == "HTTP/1.1 200 OK"
    assert time.monotonic() - began < 1  # the slow ones are still being waited for
    for connection in slow:
        connection.close()


def test_a_visitor_who_leaves_has_his_text_given_up(port, desk):
    with asked(port, "POST", "/api/generate", {"length": 20000, "temperature": 1}) as response:
        Events(response).until("text")
        assert desk.loads()["writing"] == 1
    patiently(lambda: desk.loads()["writing"] == 0, 15)
    (writing,) = desk._jobs.values()
    assert writing.reason == "cancelled"
    assert len(writing.text) < 20000


def test_a_dropped_connection_is_read_on(port):
    asking = {"length": 5000, "seed": 5}
    with asked(port, "POST", "/api/generate", asking | {"stream": False}) as response:
        whole = response.read().decode()
    told = ""
    with asked(port, "POST", "/api/generate", asking) as response:
        events = Events(response)
        job = events.until("begin")[2]["job"]
        events.until("text")
        told += events.text
        known = events.all[-1][1]
    with asked(port, "GET", f"/api/generate/{job}", Last_Event_ID=str(known)) as response:
        told += Events(response).rest().text
    assert told == json.loads(whole)["text"]


def test_keeping_a_connection(port):
    connection = HTTPConnection("127.0.0.1", port)
    for _ in range(3):
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *((own, True) for own in ("127.0.0.1", "localhost", "::1", "127.9.9.9")),
        *((other, False) for other in ("0.0.0.0", "::", "192.168.1.2", "example.org", "")),
    ],
)
def test_which_addresses_are_this_machines_own(host, own):
    assert server.is_loopback(host) == own


def test_a_body_of_less_than_nothing_is_not_read():
    """It would be read to the end of the connection, whatever came."""
    said = []
    app = server.whole_body(lambda *arguments: pytest.fail("called"))
    assert app({"CONTENT_LENGTH": "-5", "wsgi.input": None}, lambda *head: said.append(head)) == []
    assert said[0][0] == "400 Bad Request"
