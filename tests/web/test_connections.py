"""Test that streams, slow clients and idle connections leave connections and file descriptors for others."""

import asyncio
import errno
import json
import logging
import select
import socket
import threading
import time
from contextlib import ExitStack, closing

import pytest
from web_helpers import LONG, TIMEOUT, Events, local_queue, request, server_in_thread, wait_for

from minichar.web import connection as module
from minichar.web import server, texts

resource = pytest.importorskip("resource")

SHORT = ("POST", "/api/generate", {"length": 3, "stream": False})
IDLE = 1100
FEW_FILES = """
import resource
from minichar.cli import main
from minichar.web import connection
connection.TIMEOUT = 600
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
main()
"""


def status(port, *wanted):
    with request(port, *wanted) as response:
        return response.status


def connect(port, stack):
    """Open a connection, which is closed with `stack`."""
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT))


def test_streams_leave_short_requests_alone(model, monkeypatch):
    """Several readers of one job, which counts once in the queue, count as several streams."""
    monkeypatch.setattr(texts, "READ_TIMEOUT", 0.1)  # the server soon notices that a client has left
    monkeypatch.setattr(texts, "ABANDONED_AFTER", 1e9)  # the job that it leaves does not count
    with server_in_thread(local_queue({"toy": model}, pace=100), streams=3) as port, ExitStack() as stack:
        first = stack.enter_context(request(port, "POST", "/api/generate", LONG))
        job = Events(first).until("begin")[2]["job"]
        again = ("GET", f"/api/generate/{job}")
        for _ in range(2):
            stack.enter_context(request(port, *again))
        for busy in (again, ("POST", "/api/generate", {"stream": False}), ("GET", "/plain")):
            with request(port, *busy) as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "2")
                assert "too many requests are in progress: try again later" in response.read().decode()
        with request(port, "POST", "/res", {"sid": job}) as response:
            assert json.load(response) == {"responds": "0"}
        assert status(port, "GET", "/") == 200
        stack.close()
        wait_for(lambda: status(port, *SHORT) == 200)


@pytest.fixture
def open_files():
    """Allow this process to open as many sockets as the test of a crowd needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4 * IDLE:
        pytest.skip(f"at most {hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * IDLE), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_crowd_of_idle_connections_and_streams(start, open_files):
    """The server raises the limit on open files, and waits for more sockets than ``select`` supports."""
    arguments = ("serve", "--port", 0, "--per-client", 0, "--pace", 20)
    child = start(*arguments, ready=r"serving at .*:(\d+)/", python=("-c", FEW_FILES))
    port = int(child.found[1])
    with ExitStack() as stack:
        idle = [connect(port, stack) for _ in range(IDLE)]
        for _ in range(20):
            stream = stack.enter_context(request(port, "POST", "/api/generate", LONG))
            assert Events(stream).until("begin")
        assert status(port, "GET", "/") == 200
        for connection in idle:  # none has been closed
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(1)
    assert child.poll() is None


def test_silent_clients_do_not_block_others(model, monkeypatch):
    """At the limit, the oldest connection without a request is closed, long before its deadline."""
    monkeypatch.setattr(server, "allow_open_files", lambda wanted: server.SPARE_FILES + 30)
    monkeypatch.setattr(module, "TIMEOUT", 60)
    with server_in_thread(local_queue({"toy": model})) as port, ExitStack() as stack:
        stream = Events(stack.enter_context(request(port, "POST", "/api/generate", LONG)))
        silent = [connect(port, stack) for _ in range(100)]
        assert status(port, *SHORT) == 200
        closed = [bool(select.select([connection], [], [], 0)[0]) for connection in silent]
        assert sum(closed) == 72
        assert stream.until("text")
        assert closed == sorted(closed, reverse=True)


def test_incomplete_requests_take_up_limited_memory(model, monkeypatch):
    monkeypatch.setattr(module, "MAX_INCOMPLETE", 120_000)
    monkeypatch.setattr(module, "TIMEOUT", 60)
    head = b"POST /res HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 60000\r\n\r\n"

    def closed(connections):
        return [connection for connection in connections if select.select([connection], [], [], 0)[0]]

    with server_in_thread(local_queue({"toy": model})) as port:
        for _ in range(2):  # the bytes of closed connections no longer count
            with ExitStack() as stack:
                some = [connect(port, stack) for _ in range(3)]
                for connection in some[:2]:
                    connection.sendall(head + 50_000 * b" ")
                assert status(port, *SHORT) == 200
                assert closed(some) == []
                some[2].sendall(head + 50_000 * b" ")
                wait_for(lambda some=some: closed(some))
                assert len(closed(some)) == 1
                assert status(port, *SHORT) == 200


def test_complete_requests_are_answered_above_the_limit_for_incomplete_ones(model, monkeypatch):
    monkeypatch.setattr(module, "MAX_INCOMPLETE", -1)
    with server_in_thread(local_queue({"toy": model}, pace=0)) as port:
        assert status(port, "GET", "/healthz") == 200


def test_a_server_without_file_descriptors_waits_and_logs_it_once(model, caplog, monkeypatch):
    accept, full, attempts = socket.socket.accept, threading.Event(), []

    def accepted(self):
        attempts.append(self)
        if full.is_set():
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr("minichar.web.errors.LOGGED", {})
    monkeypatch.setattr(socket.socket, "accept", accepted)
    with server_in_thread(local_queue({"toy": model}, pace=0)) as port, ExitStack() as stack:
        full.set()
        connect(port, stack)
        wait_for(lambda: attempts)
        time.sleep(0.5)
        assert len(attempts) < 100
        full.clear()
        assert status(port, "GET", "/") == 200
    assert caplog.messages == ["cannot accept connections: too many open files; raise the limit (ulimit -n)"]


def test_a_server_that_stops_does_not_log_that_it_cannot_accept_connections(model, caplog):
    """asyncio tries again after a second, even if the socket has been closed."""
    stopping = server.Server(None, local_queue({"toy": model}), print)

    def logged(error):
        stopping._handle(loop, {"message": "an error", "exception": error})
        return len(caplog.messages)

    with closing(asyncio.new_event_loop()) as loop:
        assert logged(ValueError()) == 1
        stopping.should_exit = True
        assert logged(ValueError()) == 1
        assert logged(RuntimeError()) == 2


def test_deadlines_are_checked_regularly(model, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with server_in_thread(local_queue({"toy": model}, pace=0)) as port, ExitStack() as stack:
        assert connect(port, stack).recv(1) == b""


def test_which_messages_of_uvicorn_are_logged():
    """Every malformed request causes a warning."""
    server.log("INFO")
    logger = logging.getLogger("uvicorn.error")
    enabled = [logger.isEnabledFor(level) for level in (logging.WARNING, logging.ERROR)]
    logging.getLogger("uvicorn").setLevel(logging.NOTSET)
    assert enabled == [False, True]
