"""Test the server with slow clients, malformed requests and lost connections."""

import ctypes
import ipaddress
import json
import logging
import os
import platform
import re
import select
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from http.client import HTTPConnection

import pytest
from web_helpers import Events, request, server_in_thread, wait_for

from minichar.web import connections, memory, server
from minichar.web import job as job_module
from minichar.web.app import HEADERS
from minichar.web.forwarded import last_address
from minichar.web.queue import LocalQueue

POST = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"length": 3, "stream": false }'
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def queue(model):
    return LocalQueue({"toy": model}, columns=8, queue=4, pace=5000)


@pytest.fixture(scope="module")
def port(queue):
    """Port of a server shared by all tests. Each test also checks that the server is still running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "TIMEOUT", 0.6)
        patch.setattr(server, "CLEANUP_INTERVAL", 0)
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
    "incomplete request line": b"POST /api/gen",
    "incomplete headers": POST,
    "incomplete body": POST + b"Content-Length: 100\r\n\r\n{",
}


STATUSES = {"long path": 431, "long header": 431, "long body announced": 413}
"""Statuses of requests that never reach the application, which would return others."""


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_return_a_client_error(port, name):
    assert status_line(port, MALFORMED[name]).startswith(f"HTTP/1.1 {STATUSES.get(name, 4)}")
    if name.startswith("incomplete"):
        assert status_line(port, MALFORMED[name], half_close=True) == ""  # the connection is closed
    assert status_line(port, WHOLE) == "HTTP/1.1 200 OK"
    assert status_line(port, WHOLE, half_close=True) == "HTTP/1.1 200 OK"


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
        assert HEADERS.items() <= dict(response.headers).items()
        assert isinstance(json.load(response)["error"], str)
    with request(port, "POST", "/v1/completions", {"prompt": "a" * 70000}) as response:
        assert response.status == 413
        assert json.load(response)["error"]["type"] == "invalid_request_error"


def test_a_request_without_a_host_header(port):
    assert status_line(port, b"GET / HTTP/1.0\r\n\r\n") == "HTTP/1.0 200 OK"


def test_an_error_response_to_head_has_no_body(port):
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert answer.endswith(b"\r\n\r\n")


def test_a_client_that_does_not_read_is_disconnected(port, queue):
    """The response is larger than the buffers of the sockets and the server."""
    body = json.dumps({"length": 5000, "alternatives": True, "stop": [], "seed": 5}).encode()
    before = set(queue._jobs._jobs)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", port))
        connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        (job_id,) = wait_for(lambda: set(queue._jobs._jobs) - before)
        wait_for(lambda: queue._jobs[job_id].reason)
        time.sleep(1.5)  # longer than the timeout
        received = b""
        with suppress(ConnectionResetError):
            while more := connection.recv(2**20):
                received += more
        assert b'"reason"' not in received


def test_a_client_is_not_blamed_for_a_pause_of_the_server(monkeypatch):
    monkeypatch.setattr(connections, "TIMEOUT", 10)
    one = connections.Connection.__new__(connections.Connection)
    one.requests, one.request, one.unsent_since = [object()], None, None
    one.last_activity, one.waiting_since, one.will_close = 0.0, 0.0, False

    def closed(now, unsent):
        one.total_outbufs_len = unsent
        one.check_deadline(now)
        return one.will_close

    assert not closed(20, 5)  # nothing was sent until now
    assert not closed(31, 0)
    assert not closed(32, 5)
    one.last_activity = 35.0
    assert not closed(44, 5)
    assert closed(46, 5)


@pytest.mark.parametrize(
    ("proxy", "statuses"),
    [("127.0.0.1", [200, 200, 429]), ("127.9.9.9", [200, 429, 429]), (None, [200, 429, 429])],
)
def test_clients_behind_a_trusted_proxy(queue, proxy, statuses):
    """Only the last address is from the proxy; a client may send any others."""
    local = LocalQueue(queue._models, columns=8, queue=4, pace=5000)
    with server_in_thread(local, per_client=1, proxy=proxy) as port, ExitStack() as stack:
        for addresses, status in zip(
            ("10.0.0.1", "10.0.0.1, 10.0.0.2", "9.9.9.9, 10.0.0.2"), statuses, strict=True
        ):
            sent = request(port, "POST", "/api/generate", {"length": 20000}, X_Forwarded_For=addresses)
            assert stack.enter_context(sent).status == status


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
        *((malformed, None) for malformed in ("", '"', "10.0.0.1,", "unknown", "[::1", "[", "1.2.3.4.5")),
    ],
)
def test_last_address(header, address):
    assert last_address(header) == address


def test_a_malformed_header_counts_towards_the_proxy(queue, caplog):
    local = LocalQueue(queue._models, columns=8, queue=4, pace=5000)
    with server_in_thread(local, per_client=1, proxy="127.0.0.1") as port, ExitStack() as stack:
        for address, status in (('"', 200), ("unknown", 429), ("10.0.0.1", 200)):
            sent = request(port, "POST", "/api/generate", {"length": 20000}, X_Forwarded_For=address)
            assert stack.enter_context(sent).status == status
    assert caplog.text == ""


def test_access_log(queue, caplog):
    """A path has no query and no job id, and cannot contain a control character."""
    caplog.set_level(logging.INFO, "minichar.access")
    local = LocalQueue(queue._models, columns=8, queue=4, pace=5000)
    with server_in_thread(local, proxy="127.0.0.1") as port:
        with request(port, "POST", "/api/generate", {"length": 300}, X_Forwarded_For="10.0.0.1") as response:
            streamed = response.read()
        for path in ("/healthz?token=secret", "/api/generate/secret", "/a%0A%1b[31m%c3%a9"):
            status_line(port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        status_line(port, b"GET  HTTP/1.1\r\n\r\n")
        wait_for(lambda: len(caplog.messages) == 5)
    lines = [re.fullmatch(r"(.+) (\d+) bytes \d+\.\d{3} s", message) for message in caplog.messages]
    assert {line[1] for line in lines} == {
        "10.0.0.1 POST /api/generate 200",
        "127.0.0.1 GET /healthz 200",
        "127.0.0.1 GET /api/generate/JOB 404",
        "127.0.0.1 GET /a%0A%1B%5B31m%C3%A9 404",
        "127.0.0.1 - - 400",
    }
    assert str(len(streamed)) in {line[2] for line in lines}


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


def test_pipelined_requests_are_dropped(model):
    """Between two of them, a thread would wait for a client that reads slowly."""
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with server_in_thread(LocalQueue({"toy": model}, columns=1, queue=1, pace=0)) as port:
        for _ in range(2):  # without and with an idle thread
            with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
                connection.sendall(3 * ask)
                with connection.makefile("rb") as answer:
                    text = answer.read().decode()
            assert text.count("HTTP/1.1 200 OK") == 1
            assert "\r\nConnection: close\r\n" in text


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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="requires glibc")
def test_number_of_heaps_does_not_grow_with_the_number_of_threads():
    """Otherwise, each heap keeps memory that the others cannot use."""
    code = """
import ctypes, os, signal, threading
from minichar.web.server import serve

def allocate(barrier):
    block = bytearray(10_000)
    barrier.wait()
    barrier.wait()

def ready(address):
    barrier = threading.Barrier(17)
    for _ in range(16):
        threading.Thread(target=allocate, args=[barrier]).start()
    barrier.wait()
    ctypes.CDLL(None).malloc_stats()
    barrier.wait()
    os.kill(os.getpid(), signal.SIGTERM)

serve(lambda environ, start_response: [], "127.0.0.1", 0, 8, ready, lambda: None)
"""
    environ = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.returncode == 0
    assert 1 <= len(re.findall(r"^Arena \d+:", done.stderr, re.MULTILINE)) <= memory.ARENAS


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="requires glibc")
def test_functions_of_glibc_exist(monkeypatch):
    """Otherwise, the errors would be suppressed."""
    names = []
    monkeypatch.setattr(memory, "call", lambda name, *arguments: names.append(name))
    memory.limit_arenas()
    memory.return_memory()
    assert [hasattr(ctypes.CDLL(None), name) for name in names] == [True, True]
