"""Test that streams, slow clients and idle connections leave threads and file descriptors for others."""

import errno
import json
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest
from web_helpers import LONG, TIMEOUT, Events, request, server_in_thread, wait_for

from minichar.web import connections, server
from minichar.web import job as job_module
from minichar.web.queue import LocalQueue

resource = pytest.importorskip("resource")
wasyncore = pytest.importorskip("waitress.wasyncore")

SHORT = ("POST", "/api/generate", {"length": 3, "stream": False})
IDLE = 1100
FEW_FILES = """
import resource
from minichar.cli import main
from minichar.web import connections
connections.TIMEOUT = 600
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
main()
"""


def status(port, *wanted):
    with request(port, *wanted) as response:
        return response.status


def connect(port, stack):
    """Open a connection, which is closed with `stack`."""
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT))


@pytest.mark.parametrize("again", [False, True])
def test_streams_leave_threads_for_short_requests(model, monkeypatch, again):
    """Several readers of one job, which counts once in the queue, also occupy several threads."""
    monkeypatch.setattr(server, "SPARE_THREADS", 1)
    monkeypatch.setattr(job_module, "READ_TIMEOUT", 0.1)  # the server soon notices that a client has left
    local = LocalQueue({"toy": model}, columns=8, queue=4, pace=1000)
    with server_in_thread(local, streams=3) as port, ExitStack() as stack:
        first = stack.enter_context(request(port, "POST", "/api/generate", LONG))
        job = Events(first).until("begin")[2]["job"]
        one = ("GET", f"/api/generate/{job}") if again else ("POST", "/api/generate", LONG)
        for _ in range(2):
            stack.enter_context(request(port, *one))
        for busy in (one, ("POST", "/api/generate", {"stream": False}), ("GET", "/plain")):
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
    """At the limit, the oldest connection without a request is closed, long before its deadline.

    The server accepts connections even if fewer open files are allowed than threads.
    """
    monkeypatch.setattr(server, "allow_open_files", lambda wanted: 60)
    monkeypatch.setattr(connections, "TIMEOUT", 60)
    local = LocalQueue({"toy": model}, columns=8, queue=4, pace=5000)
    with server_in_thread(local) as port, ExitStack() as stack:
        silent = [connect(port, stack) for _ in range(100)]
        assert status(port, *SHORT) == 200
        closed = [bool(select.select([connection], [], [], 0)[0]) for connection in silent]
        assert 70 <= sum(closed) < 100
        assert closed == sorted(closed, reverse=True)


def test_incomplete_requests_take_up_limited_memory(model, monkeypatch):
    monkeypatch.setattr(connections, "MAX_INCOMPLETE", 120_000)
    monkeypatch.setattr(connections, "TIMEOUT", 60)
    head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n"

    def closed(connections):
        return [connection for connection in connections if select.select([connection], [], [], 0)[0]]

    with server_in_thread(LocalQueue({"toy": model}, columns=8, queue=4, pace=5000)) as port:
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
    monkeypatch.setattr(connections, "MAX_INCOMPLETE", -1)
    with server_in_thread(LocalQueue({"toy": model}, columns=1, queue=1, pace=0)) as port:
        assert status(port, "GET", "/healthz") == 200


def test_too_few_file_descriptors(model, monkeypatch, caplog):
    """An idle connection is closed, and the message is logged once."""
    accept, failures = wasyncore.dispatcher.accept, [OSError(errno.EMFILE, "Too many open files")] * 3

    def fail(self):
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(connections, "PAUSE", 0.05)
    monkeypatch.setattr(connections, "TIMEOUT", 60)
    with server_in_thread(LocalQueue({"toy": model}, 8, 4, pace=0)) as port, ExitStack() as stack:
        idle = connect(port, stack)
        assert status(port, *SHORT) == 200
        monkeypatch.setattr(wasyncore.dispatcher, "accept", fail)
        assert status(port, *SHORT) == 200
        assert idle.recv(1) == b""
    assert failures == []
    assert [record.message for record in caplog.records] == [
        "cannot accept connections: too many open files; raise the limit (ulimit -n)"
    ]


def test_a_server_without_file_descriptors_does_not_retry_all_the_time(model, monkeypatch):
    attempts = []

    def fail(self):
        attempts.append(self)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(connections, "PAUSE", 0.2)
    with server_in_thread(LocalQueue({"toy": model}, 8, 4, pace=0)) as port, ExitStack() as stack:
        with monkeypatch.context() as patch:
            patch.setattr(wasyncore.dispatcher, "accept", fail)
            connect(port, stack)
            wait_for(lambda: len(attempts) > 1)
            time.sleep(1)
        assert len(attempts) < 20
        assert status(port, "GET", "/") == 200


@pytest.mark.parametrize(("timeout", "flushed"), [(30.0, [True]), (0.01, [])])
def test_the_main_thread_waits_for_a_thread_that_is_sending(monkeypatch, timeout, flushed):
    """Otherwise, it would find the socket writable, fail to get the lock, and poll again, over and over."""
    calls, one = [], connections.Connection.__new__(connections.Connection)
    one.outbuf_lock = threading.Condition()
    monkeypatch.setattr(connections, "LOCK_TIMEOUT", timeout)
    channel = connections.HTTPChannel
    monkeypatch.setattr(channel, "_flush_some_if_lockable", lambda self, do_close: calls.append(do_close))
    thread = threading.Thread(target=one._flush_some_if_lockable)
    with one.outbuf_lock:
        thread.start()
        thread.join(0.2 if flushed else 30)
        assert calls == []
    thread.join(30)
    assert calls == flushed


def test_deadlines_are_checked_regularly(model, monkeypatch):
    monkeypatch.setattr(connections, "TIMEOUT", 0.2)
    with server_in_thread(LocalQueue({"toy": model}, 8, 4, pace=0)) as port, ExitStack() as stack:
        assert connect(port, stack).recv(1) == b""


def test_a_document_waits_for_its_client(model):
    """Otherwise, the unsent part would take up memory without counting towards the client's limit."""
    local = LocalQueue({"toy": model}, 8, 4, pace=0)
    body = json.dumps({"length": 3000, "alternatives": True, "stop": [], "stream": False}).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with server_in_thread(local, per_client=1) as port, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
        time.sleep(0.5)
        assert status(port, *SHORT) == 429


def test_request_is_handled_once_a_thread_can_be_started(model, monkeypatch):
    start, errors = threading.Thread.start, ["can't start new thread"]

    def fail_once(thread):
        if thread.name == "request" and errors:
            raise RuntimeError(errors.pop())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail_once)
    with server_in_thread(LocalQueue({"toy": model}, columns=1, queue=1, pace=0)) as port:
        assert status(port, "GET", "/healthz") == 200
    assert errors == []


@pytest.mark.parametrize(("level", "logged"), [("INFO", 1), ("WARNING", 1), ("ERROR", 0)])
def test_which_messages_of_waitress_are_logged(level, logged):
    """Its messages at level ``INFO`` contain job ids."""
    code = f"""
import logging
from minichar.web.server import log
log("{level}")
logging.getLogger("waitress").info("job")
logging.getLogger("waitress").warning("socket")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line.split()[-2:] for line in done.stderr.splitlines()] == [["WARNING", "socket"]] * logged
