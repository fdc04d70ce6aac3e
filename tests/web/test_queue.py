"""Test a full queue, waiting jobs, and worker processes that die."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import pytest
from web_helpers import (
    LONG,
    TIMEOUT,
    InThread,
    Sync,
    client_of,
    events_of,
    local_queue,
    loop_of,
    validate,
    wait_for,
)

from minichar.web import pipe
from minichar.web import processes as module
from minichar.web.details import Details
from minichar.web.request import Request
from minichar.web.update import Update


def test_waiting_jobs_report_their_position_and_a_full_queue_returns_503(model):
    """The queue accepts 8 running and 4 waiting jobs."""
    queue = local_queue({"toy": model}, pace=100)
    with client_of(queue) as client:
        held = [client.post("/api/generate", json=LONG) for _ in range(8)]
        jobs = [events_of(response.event()).all[0][2]["job"] for response in held]
        wait_for(lambda: Sync(queue).job_counts()["running"] == 8)
        for position in (1, 2, 3, 4):
            response = client.post("/api/generate", json={"length": 5})
            begin, notice = (events_of(response.event()).all[0] for _ in range(2))
            assert (begin[0], notice[0]) == ("begin", "notice")
            assert notice[2] == {"what": "waiting", "position": position}
            validate(notice[2], {"$ref": "#/components/schemas/Notice"})
        for path in ("/api/generate", "/readyz"):
            rejected = client.open(path, "POST" if path == "/api/generate" else "GET", json={})
            assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "2")
        assert client.get("/healthz").status_code == 200
        page = client.get("/plain")
        assert (page.status_code, page.mimetype, page.headers["Retry-After"]) == (503, "text/html", "2")
        assert "try again later" in page.text
        assert "请稍后再试" in page.text
        for job in jobs:
            assert client.delete(f"/api/generate/{job}").status_code == 204
        wait_for(lambda: client.post("/api/generate", json={"length": 5}).status_code == 200)


def test_jobs_of_a_killed_worker_are_continued(model, sampled, monkeypatch, caplog):
    """Readers receive a notice, and every character exactly once. The log names no job and no text.

    Closing the queue ends all workers, and starts no others.
    """
    monkeypatch.setattr(module, "RESTART_DELAY", 0.0)
    started = []

    def start(**options):
        started.append(module.SPAWN(**options))
        return started[-1]

    with loop_of(local_queue({"toy": model}, columns=4, pace=500, number=2, start=start)) as queue:
        wait_for(lambda: sum(worker.ready for worker in queue.processes) == 2)
        jobs = [queue.submit(Request.from_json({"length": 1500, "seed": i})) for i in range(4)]
        readers = [filter(None, queue.follow(job)) for job in jobs]
        texts = [next(reader).text for reader in readers]
        assert [len(worker.jobs["toy"]) for worker in queue.processes] == [2, 2]
        os.kill(started[0].pid, signal.SIGKILL)
        rest = [list(reader) for reader in readers]
        for i, (text, updates) in enumerate(zip(texts, rest, strict=True)):
            assert text + "".join(update.text for update in updates) == sampled(1500, seed=i)
            assert updates[-1].reason == "length"
        assert sorted(sum(update.restarted for update in updates) for updates in rest) == [0, 0, 1, 1]
        wait_for(lambda: sum(worker.ready for worker in queue.processes) == 2)
        queue.close()
        wait_for(lambda: not any(process.is_alive() for process in started))
        time.sleep(0.1)
    assert len(started) == 3
    assert caplog.messages == ["a worker process ended; starting another one"]


class Interrupted:
    """Worker process that receives Ctrl-C while it starts."""

    def __init__(self, **options):
        self.process = module.SPAWN(**options)

    def start(self):
        self.process.start()
        os.kill(self.process.pid, signal.SIGINT)

    def __getattr__(self, name):
        return getattr(self.process, name)


def test_ctrl_c_does_not_end_a_worker_that_is_starting(model, caplog, capfd):
    with loop_of(local_queue({"toy": model}, start=Interrupted)) as queue:
        wait_for(lambda: queue._ready)
    assert (caplog.messages, capfd.readouterr().err) == ([], "")


class Dying(InThread):
    """Worker that dies as soon as it is given a job or, with `progress`, when it has added a character."""

    progress, attempts = False, []

    def run(self):
        with self.end, self.end.makefile("rb") as messages, suppress(OSError):  # the test has ended
            self.end.sendall(pipe.encode("ready"))
            if message := messages.readline():
                _, model, job, _, published, attempt = json.loads(message)
                self.attempts.append(attempt)
                if self.progress:
                    end = sum(len(update["text"]) for update in published) + 1
                    update = Update("abcdefgh"[end - 1], Details(), end, "length" if end == 8 else None)
                    news, ended = {job: update.dump()}, [job] if end == 8 else []
                    self.end.sendall(pipe.encode("publish", model, news, ended))
            # The last message is wrong, or incomplete because the worker dies while it sends it.
            self.end.sendall(b"[]\n" if self.progress else b'["publish"')


@pytest.mark.parametrize("progress", [False, True])
def test_workers_that_make_no_progress_are_counted(model, monkeypatch, progress):
    """A worker does not start a job that seems to have killed several others."""
    monkeypatch.setattr(module, "RESTART_DELAY", 0.0)
    monkeypatch.setattr(Dying, "progress", progress)
    monkeypatch.setattr(Dying, "attempts", [])
    with loop_of(local_queue({"toy": model}, 4, 4, 0, start=Dying)) as queue:
        job = queue.submit(Request.from_json({"length": 8}))
        wait_for(lambda: len(Dying.attempts) >= 8)
        if progress:
            updates = list(filter(None, queue.follow(job)))
            assert ("".join(update.text for update in updates), updates[-1].reason) == ("abcdefgh", "length")
    assert Dying.attempts[:8] == ([1, *7 * [2]] if progress else [*range(1, 9)])


@pytest.mark.parametrize("what", ["process", "socket", "connection"])
def test_jobs_wait_while_no_worker_runs(model, sampled, caplog, what):
    """A server whose worker died, and that has had none for a minute, is broken."""
    allowed, refused, started = [], [], time.monotonic()

    def once_allowed(create, *arguments, **options):
        if not allowed:
            refused.append(arguments)
            raise OSError("too many open files")
        return create(*arguments, **options)

    start = partial(once_allowed, module.SPAWN) if what == "process" else module.SPAWN
    with pytest.MonkeyPatch.context() as patch:
        if what == "socket":
            pair = partial(once_allowed, socket.socketpair)
            patch.setattr(module, "socket", SimpleNamespace(socketpair=pair))
        if what == "connection":
            connect = partial(once_allowed, asyncio.open_connection)
            patch.setattr(module.asyncio, "open_connection", connect)
        patch.setattr("minichar.web.errors.LOGGED", {})
        patch.setattr(module, "RESTART_DELAY", 0.05)
        patch.setattr(module, "BROKEN_AFTER", 0.2)
        with client_of(local_queue({"toy": model}, 4, 4, 0, start=start)) as client:
            response = client.post("/api/generate", json={"length": 50, "seed": 5})
            response.event()
            assert events_of(response.event()).all[0][2] == {"what": "no_worker"}
            wait_for(lambda: client.get("/healthz").json == {"status": "broken"})
            assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [503, 503]
            allowed.append(True)
            assert len(refused) <= (time.monotonic() - started) / 0.05 + 1
            assert events_of(response).text == sampled(50)
            assert client.get("/healthz").status_code == 200
    said = "cannot start a worker process, trying again every second: too many open files"
    assert caplog.messages.count(said) == 1


def test_a_server_is_ready_when_its_first_worker_is(model, monkeypatch):
    """Until then, jobs wait in the queue, no reader is told that no worker runs, and nothing is broken."""
    monkeypatch.setattr(module, "BROKEN_AFTER", 0.0)
    allowed = threading.Event()

    class Late(InThread):
        def run(self):
            allowed.wait(TIMEOUT)
            super().run()

    with client_of(local_queue({"toy": model}, start=Late)) as client:
        try:
            response = client.post("/api/generate", json={"length": 5})
            response.event()
            assert events_of(response.event()).all[0][2] == {"what": "waiting", "position": 1}
            refused = client.get("/readyz")
            assert (refused.status_code, refused.json["code"]) == (503, "unavailable")
            assert client.get("/healthz").status_code == 200
        finally:
            allowed.set()
        assert events_of(response).all[-1][2]["reason"] == "length"
        assert client.get("/readyz").status_code == 200


@pytest.fixture
def link():
    """A worker's link, and the server's end of its sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = pipe.PipeLink(theirs, ["toy"])
        yield link, ours
        ours.close()
        assert link.closed.wait(TIMEOUT)


def test_a_job_that_is_stopped_after_its_end_is_forgotten(link, caplog):
    one, ours = link

    def give(job_id):
        ours.sendall(pipe.encode("start", "toy", job_id, "", [], 1))
        assert wait_for(lambda: one.take("toy")).job_id == job_id

    give("a")
    ours.sendall(pipe.encode("stop", "a"))
    wait_for(lambda: one.unwanted(["a", "b"]) == ["a"])
    one.publish("toy", {}, ["a"])
    ours.sendall(pipe.encode("stop", "a"))
    give("b")
    assert one.unwanted(["a", "b"]) == []
    ours.sendall(b'["stop"')  # the server is killed while it sends a message
    ours.shutdown(socket.SHUT_WR)
    assert one.closed.wait(TIMEOUT)
    assert caplog.messages == []


def test_a_worker_ends_after_an_unexpected_message(link, caplog):
    one, ours = link
    ours.sendall(b"garbage\n")
    assert one.closed.wait(TIMEOUT)
    assert "JSONDecodeError" in caplog.text


def test_the_log_of_a_worker_process_is_escaped_on_a_terminal():
    ours, theirs = pytest.importorskip("pty").openpty()
    worker = (
        "import logging, socket; from minichar.web import pipe; "
        "ours, theirs = socket.socketpair(); ours.close(); "
        "pipe.run(theirs, {}, 1, 1.0, logging.INFO); logging.error('\\x1b[2J')"
    )
    child = subprocess.Popen([sys.executable, "-c", worker], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the process has ended
        while block := os.read(ours, 4096):
            shown += block
    os.close(ours)
    assert child.wait() == 0
    assert shown.endswith(b"ERROR \\x1b[2J\r\n")
