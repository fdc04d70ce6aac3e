"""Test the server with slow clients, malformed requests and lost connections."""

import json
import logging
import re
import select
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from web_helpers import TIMEOUT, InstantQueue, local_queue, request, server_in_thread, wait_for

from minichar.web import connection as module
from minichar.web import server
from minichar.web.connection import Connection
from minichar.web.guard import HEADERS

POST = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"length": 3, "stream": false }'
WHOLE = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def port(model):
    """Port of a server shared by all tests. Each test also checks that the server is still running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TIMEOUT", 1.2)
        patch.setattr(server, "CHECK_TICKS", 1)
        with server_in_thread(local_queue({"toy": model})) as port:
            yield port


def answers(port, data):
    """Send bytes, and return everything that the server sends until it closes the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        with suppress(ConnectionError):  # the server may respond before it has received everything
            connection.sendall(data)
        with suppress(ConnectionError):
            while more := connection.recv(65536):
                answer += more
    return answer.decode()


MALFORMED = {
    "garbage": b"\x00\xff\xfe garbage\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "malformed chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "long path": b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
    "long body announced": POST + b"Content-Length: 70000\r\n\r\n{",
    "long chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"a" * 100000,
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / H",
    "two names of chunks": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "incomplete request line": b"POST /api/gen",
    "incomplete body": POST + b"Content-Length: 100\r\n\r\n{",
}


STATUSES = {
    "long path": 431,
    "long header": 431,
    "long body announced": 413,
    "long chunk": 413,
    "two names of chunks": 501,
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_return_one_client_error(port, name):
    """What follows is not another request, because a proxy may have found another end of this one."""
    following = b"" if name.startswith("incomplete") else b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    text = answers(port, MALFORMED[name] + following)
    assert text.startswith(f"HTTP/1.1 {STATUSES.get(name, 4)}")
    assert text.count("HTTP/1.1 ") == 1
    head, _, body = text.partition("\r\n\r\n")
    assert isinstance(json.loads(body)["error"], str)
    assert all(f"\r\n{name.lower()}: " in head.lower() for name in HEADERS)
    assert answers(port, WHOLE).startswith("HTTP/1.1 200 OK")


@pytest.mark.parametrize("sent", [b"", POST + b"Content-Length: 900\r\n\r\n"], ids=["head", "body"])
def test_the_deadline_for_a_request_is_not_extended_by_every_byte(port, sent):
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(sent)
        start = time.monotonic()
        with suppress(OSError):
            for byte in POST * 9:
                connection.sendall(bytes([byte]))
                if select.select([connection], [], [], 0.05)[0]:
                    break
        assert time.monotonic() - start < 10
        assert connection.recv(100).startswith(b"HTTP/1.1 408 Request Timeout")


def test_an_error_response_to_head_has_no_body(port):
    text = answers(port, b"HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n")
    assert text.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert text.endswith("\r\n\r\n")


def test_a_client_that_does_not_read_is_disconnected(model, monkeypatch):
    """The response is larger than the buffers of the sockets and the server."""
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    monkeypatch.setattr(server, "CHECK_TICKS", 1)
    ended, lost = threading.Event(), Connection.connection_lost
    monkeypatch.setattr(Connection, "connection_lost", lambda *given: (lost(*given), ended.set()))
    body = json.dumps({"length": 5000, "alternatives": True}).encode()
    with server_in_thread(InstantQueue(model)) as port, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", port))
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert ended.wait(TIMEOUT)
        received = b""
        with suppress(ConnectionResetError):
            while more := connection.recv(2**20):
                received += more
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert not received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("paused", [True, False])
def test_which_clients_take_too_long_to_read(monkeypatch, paused):
    """A response that is not waiting for its client still adds data, so that its size says nothing."""
    monkeypatch.setattr(module, "TIMEOUT", 10)
    one = Connection.__new__(Connection)
    one.transport, one.waiting_since, one.progress, one.unsent = Mock(), 0.0, 0.0, 0
    one.transport.is_closing.return_value = False
    one.cycle = SimpleNamespace(response_complete=False, more_body=False, response_started=True)
    one.flow = SimpleNamespace(write_paused=paused, resume_writing=lambda: None)

    def closed(now, unsent):
        one.transport.get_write_buffer_size.return_value = unsent
        one.check_deadline(now)
        return one.transport.abort.called

    assert not closed(20, 0)
    assert not closed(29, 5)
    assert not closed(35, 4)  # one byte less
    assert not closed(40, 4)
    one.resume_writing()  # the client took the rest, and more was added
    assert not closed(46, 4)
    assert not closed(55, 6)
    assert closed(57, 6) == paused


def test_access_log(model, caplog):
    """A path has no query and no job id, and cannot contain a control character."""
    caplog.set_level(logging.INFO, "minichar.access")

    def messages():
        return [record.message for record in caplog.records if record.name == "minichar.access"]

    local = local_queue({"toy": model})
    with server_in_thread(local, proxy="127.0.0.1") as port:
        with request(port, "POST", "/api/generate", {"length": 300}, X_Forwarded_For="10.0.0.1") as response:
            streamed = response.read()
        for path in ("/healthz?token=secret", "/api/generate/secret", "/a%0A%1b[31m%c3%a9"):
            answers(port, f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answers(port, b"GET  HTTP/1.1\r\n\r\n")
        wait_for(lambda: len(messages()) == 5)
    lines = [re.fullmatch(r"(.+) (\d+) bytes \d+\.\d{3} s", message) for message in messages()]
    assert {line[1] for line in lines} == {
        "10.0.0.1 POST /api/generate 200",
        "127.0.0.1 GET /healthz 200",
        "127.0.0.1 GET /api/generate/JOB 404",
        "127.0.0.1 GET /a%0A%1B%5B31m%C3%A9 404",
        "127.0.0.1 - - 400",
    }
    assert str(len(streamed)) in {line[2] for line in lines}


def test_keep_alive_connection(port):
    """Each request has its own deadline, and so has the next one after a response that takes longer."""
    connection, headers = HTTPConnection("127.0.0.1", port), {"Content-Type": "application/json"}
    connection.request("POST", "/api/generate", b'{"length": 2500, "stream": false}', headers)
    assert connection.getresponse().read()
    for _ in range(4):
        time.sleep(0.35)
        connection.request("GET", "/healthz")
        assert json.load(connection.getresponse())["status"] == "ok"
    connection.close()


def test_is_loopback():
    assert all(map(server.is_loopback, ("127.0.0.1", "localhost", "::1", "127.9.9.9")))
    assert not any(map(server.is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org", "")))
