"""Test the server with slow clients, malformed requests and lost connections."""

import ipaddress
import json
import logging
import re
import select
import socket
import threading
import time
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from types import SimpleNamespace

import pytest
from web_helpers import TIMEOUT, Events, InstantQueue, ask, local_queue, request, server_in_thread, wait_for

from minichar.web import connection as module
from minichar.web import server, texts
from minichar.web.access import Access
from minichar.web.connection import Connection
from minichar.web.guard import HEADERS

POST = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"length": 3, "stream": false }'
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def queue(model):
    return local_queue({"toy": model})


@pytest.fixture(scope="module")
def port(queue):
    """Port of a server shared by all tests. Each test also checks that the server is still running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TIMEOUT", 1.2)
        patch.setattr(server, "CHECK_TICKS", 1)
        patch.setattr(texts, "READ_TIMEOUT", 0.1)
        with server_in_thread(queue) as port:
            yield port


def answers(port, data):
    """Send bytes, and return everything that the server sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


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
    "no path": b"GET  HTTP/1.1\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    "negative length": POST + b"Content-Length: -5\r\n\r\n{}",
    "length is not a number": POST + b"Content-Length: abc\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "malformed chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "long path": b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
    "long body announced": POST + b"Content-Length: 70000\r\n\r\n{",
    "long body sent": POST + b"Content-Length: 200000\r\n\r\n" + b"a" * 200000,
    "long chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n" + b"a" * 100000,
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / H",
    "two names of chunks": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "folded header": POST + b"X: a\r\n b: c\r\nContent-Length: x\r\n\r\n{}",
    "signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "incomplete request line": b"POST /api/gen",
    "incomplete headers": POST,
    "incomplete body": POST + b"Content-Length: 100\r\n\r\n{",
}


STATUSES = {"long path": 431, "long header": 431, "long body announced": 413, "two names of chunks": 501}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_return_a_client_error(port, name):
    assert status_line(port, MALFORMED[name]).startswith(f"HTTP/1.1 {STATUSES.get(name, 4)}")
    assert status_line(port, WHOLE) == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "name",
    ["length and chunks", "two lengths", "two names of chunks", "space before the colon", "signed length"],
)
def test_what_follows_an_ambiguous_request_is_not_another_request(port, name):
    """A proxy may have found another end of the request."""
    text = answers(port, MALFORMED[name] + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert text.count("HTTP/1.1 ") == 1
    assert text.startswith(("HTTP/1.1 400 ", "HTTP/1.1 501 "))


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


def test_errors_of_the_server_have_the_form_of_other_errors(port):
    with request(port, "POST", "/api/generate", {"prime": "a" * 70000}) as response:
        assert response.status == 413
        assert {name: response.headers[name] for name in HEADERS} == HEADERS
        assert isinstance(json.load(response)["error"], str)
    with request(port, "POST", "/v1/completions", {"prompt": "a" * 70000}) as response:
        assert response.status == 413
        assert json.load(response)["error"]["type"] == "invalid_request_error"


def test_a_request_without_a_host_header(port):
    assert status_line(port, b"GET / HTTP/1.0\r\n\r\n") == "HTTP/1.1 200 OK"


def test_an_error_response_to_head_has_no_body(port):
    text = answers(port, b"HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n")
    assert text.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert text.endswith("\r\n\r\n")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_does_not_read_is_disconnected(model, monkeypatch, stream):
    """The response is larger than the buffers of the sockets and the server."""
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    monkeypatch.setattr(server, "CHECK_TICKS", 1)
    ended, lost = threading.Event(), Connection.connection_lost
    monkeypatch.setattr(Connection, "connection_lost", lambda *given: (lost(*given), ended.set()))
    body = json.dumps({"length": 5000, "alternatives": True, "stream": stream}).encode()
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


class Idle:
    """Transport of a connection that is sending."""

    def __init__(self):
        self.unsent, self.closed = 0, False

    def get_write_buffer_size(self):
        return self.unsent

    def abort(self):
        self.closed = True

    def is_closing(self):
        return self.closed


@pytest.mark.parametrize("paused", [True, False])
def test_which_clients_take_too_long_to_read(monkeypatch, paused):
    """A response that is not waiting for its client still adds data, so that its size says nothing."""
    monkeypatch.setattr(module, "TIMEOUT", 10)
    one = Connection.__new__(Connection)
    one.transport, one.waiting_since, one.progress, one.unsent = Idle(), 0.0, 0.0, 0
    one.cycle = SimpleNamespace(response_complete=False, more_body=False, response_started=True)
    one.flow = SimpleNamespace(write_paused=paused, resume_writing=lambda: None)

    def closed(now, unsent):
        one.transport.unsent = unsent
        one.check_deadline(now)
        return one.transport.closed

    assert not closed(20, 0)
    assert not closed(29, 5)
    assert not closed(35, 4)  # one byte less
    assert not closed(40, 4)
    one.resume_writing()  # the client took the rest, and more was added
    assert not closed(46, 4)
    assert not closed(55, 6)
    assert closed(57, 6) == paused


@pytest.mark.parametrize(
    ("proxy", "statuses"), [("127.0.0.0/8", [200, 200, 429]), ("127.9.9.9", [200, 429, 429])]
)
def test_clients_behind_a_proxy(model, proxy, statuses, caplog):
    """If it is not trusted, all its clients count as one, so the operator is told, but only once."""
    local = local_queue({"toy": model})
    with server_in_thread(local, per_client=1, proxy=proxy) as port, ExitStack() as stack:
        for addresses, status in zip(
            ("10.0.0.1", "10.0.0.1, 10.0.0.2", "9.9.9.9, 10.0.0.2"), statuses, strict=True
        ):
            sent = request(port, "POST", "/api/generate", {"length": 20000}, X_Forwarded_For=addresses)
            assert stack.enter_context(sent).status == status
    assert caplog.text.count("127.0.0.1 sends X-Forwarded-For, which is ignored") == (statuses[1] == 429)


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ('", 10.0.0.1', "10.0.0.1"),  # only the last address is from the proxy
        ("10.0.0.1:4711", "10.0.0.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.1", str(ipaddress.ip_address("::ffff:192.0.2.1"))),
        *((bad, "127.0.0.1") for bad in ("", '"', "10.0.0.1,", "unknown", "[::1", "[", "1.2.3.4.5", None)),
    ],
)
def test_the_address_of_a_client_behind_a_trusted_proxy(header, address, caplog):
    """A malformed header counts towards the proxy."""
    access = Access(trusted=[ipaddress.ip_network("127.0.0.1")])
    assert access.address("127.0.0.1", header) == address
    assert caplog.text == ""


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
            status_line(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status_line(port, b"GET  HTTP/1.1\r\n\r\n")
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


def test_job_is_cancelled_if_its_client_disconnects(port, queue, monkeypatch):
    with request(port, "POST", "/api/generate", {"length": 20000}) as response:
        job = Events(response).until("begin")[2]["job"]
    wait_for(lambda: ask(queue, "job_counts")["running"] == 1)
    monkeypatch.setattr(texts, "ABANDONED_AFTER", 0.2)
    wait_for(lambda: ask(queue, "job_counts")["running"] == 0)
    with request(port, "GET", f"/api/generate/{job}") as response:
        assert Events(response).rest().all[-1][2] == {"reason": "cancelled"}


def test_keep_alive_connection(port):
    connection = HTTPConnection("127.0.0.1", port)
    for _ in range(4):
        connection.request("GET", "/healthz")
        assert json.load(connection.getresponse())["status"] == "ok"
        time.sleep(0.35)  # each request has its own deadline
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
