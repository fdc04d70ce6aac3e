"""Test a full queue, waiting jobs, and worker processes that die."""

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from web_helpers import (
    LONG,
    TIMEOUT,
    InThread,
    ask,
    client_of,
    events_of,
    follow,
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


@pytest.mark.parametrize("queue", [100], indirect=True)
def test_full_queue_returns_503(client):
    """The queue accepts 8 running and 4 waiting jobs."""
    held = [client.post("/api/generate", json={"length": 20000, "stop": []}) for _ in range(12)]
    for path in ("/api/generate", "/readyz"):
        rejected = client.open(path, "POST" if path == "/api/generate" else "GET", json={})
        assert (rejected.status_code, rejected.headers["Retry-After"]) == (503, "2")
    assert client.get("/healthz").status_code == 200
    page = client.get("/plain")
    assert (page.status_code, page.mimetype, page.headers["Retry-After"]) == (503, "text/html", "2")
    assert "try again later" in page.text
    assert "请稍后再试" in page.text
    for response in held:
        job = events_of(response.event()).all[0][2]["job"]
        assert client.delete(f"/api/generate/{job}").status_code == 204
    wait_for(lambda: client.post("/api/generate", json={"length": 5}).status_code == 200)


@pytest.mark.parametrize("queue", [100], indirect=True)
def test_a_waiting_job_reports_its_position(client, queue):
    held = [client.post("/api/generate", json={"length": 20000, "stop": []}) for _ in range(8)]
    wait_for(lambda: ask(queue, "job_counts")["running"] == 8)
    for position in (1, 2):
        held.append(client.post("/api/generate", json={"length": 5}))
        begin, notice = (events_of(held[-1].event()).all[0] for _ in range(2))
        assert (begin[0], notice[0]) == ("begin", "notice")
        assert notice[2] == {"what": "waiting", "position": position}
        validate(notice[2], {"$ref": "#/components/schemas/Notice"})


@pytest.fixture
def processes(model, monkeypatch):
    """Job queue with two worker processes. The queue starts them again without delay."""
    monkeypatch.setattr(module, "RESTART_DELAY", 0.0)
    started = []

    def start(**options):
        started.append(module.SPAWN(**options))
        return started[-1]

    queue = local_queue({"toy": model}, columns=4, pace=500, number=2, start=start)
    with loop_of(queue):
        wait_for(lambda: sum(worker.ready for worker in queue.processes) == 2)
        queue.started = started
        yield queue


def test_jobs_of_a_killed_worker_are_continued(processes, sampled):
    """Readers receive a notice, and every character exactly once."""
    queue = processes
    jobs = [ask(queue, "submit", Request.from_json({"length": 1500, "seed": i})) for i in range(4)]
    readers = [filter(None, follow(queue, job)) for job in jobs]
    texts = [next(reader).text for reader in readers]
    assert [len(worker.jobs["toy"]) for worker in queue.processes] == [2, 2]
    os.kill(queue.started[0].pid, signal.SIGKILL)
    rest = [list(reader) for reader in readers]
    for i, (text, updates) in enumerate(zip(texts, rest, strict=True)):
        assert text + "".join(update.text for update in updates) == sampled(1500, seed=i)
        assert updates[-1].reason == "length"
    assert sorted(sum(update.restarted for update in updates) for updates in rest) == [0, 0, 1, 1]
    wait_for(lambda: sum(worker.ready for worker in queue.processes) == 2)
    assert len(queue.started) == 3


class Dying(InThread):
    """Worker that dies as soon as it is given a job."""

    def run(self):
        pipe.send(self.pipe, "ready")
        with suppress(EOFError):
            pipe.receive(self.pipe)
        self.pipe.close()


def test_a_job_that_kills_every_worker_ends_with_an_error(model, monkeypatch):
    monkeypatch.setattr(module, "RESTART_DELAY", 0.0)
    with loop_of(local_queue({"toy": model}, 4, 4, 0, start=Dying)) as queue:
        job = ask(queue, "submit", Request.from_json(LONG))
        updates = list(filter(None, follow(queue, job)))
    assert sum(update.restarted for update in updates) == 0
    assert (updates[-1].reason, updates[-1].error) == (
        "error",
        "job failed: 5 workers died while running it",
    )


class Stumbling(InThread):
    """Worker that dies after each character."""

    def run(self):
        with self.pipe, suppress(EOFError):
            pipe.send(self.pipe, "ready")
            kind, *order = pipe.receive(self.pipe)
            if kind == "start":
                model, job, _, published, _ = order
                end = sum(len(update["text"]) for update in published) + 1
                update = Update("abcdefgh"[end - 1], Details(), end, "length" if end == 8 else None)
                pipe.send(self.pipe, "publish", model, {job: [update.dump()]}, [job] if end == 8 else [])


def test_a_job_that_makes_progress_survives_any_number_of_workers(model, monkeypatch):
    monkeypatch.setattr(module, "RESTART_DELAY", 0.0)
    with loop_of(local_queue({"toy": model}, 4, 4, 0, start=Stumbling)) as queue:
        job = ask(queue, "submit", Request.from_json({"length": 8}))
        updates = list(filter(None, follow(queue, job)))
    assert ("".join(update.text for update in updates), updates[-1].reason) == ("abcdefgh", "length")


def test_jobs_wait_while_no_worker_runs(model, sampled):
    """A server without a worker for a minute is broken."""
    allowed = []

    def start(**options):
        if not allowed:
            raise OSError("out of memory")
        return module.SPAWN(**options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "START_TIMEOUT", 0.1)
        patch.setattr(module, "RESTART_DELAY", 0.05)
        patch.setattr(module, "BROKEN_AFTER", 0.2)
        with client_of(local_queue({"toy": model}, 4, 4, 0, start=start)) as client:
            response = client.post("/api/generate", json={"length": 50, "seed": 5})
            response.event()
            assert events_of(response.event()).all[0][2] == {"what": "no_worker"}
            wait_for(lambda: client.get("/healthz").json == {"status": "broken"})
            assert client.get("/healthz").status_code == 503
            allowed.append(True)
            assert events_of(response).text == sampled(50)
            assert client.get("/healthz").status_code == 200


def test_readers_end_when_the_server_stops_without_a_worker(model, monkeypatch):
    def start(**options):
        raise OSError("out of memory")

    monkeypatch.setattr(module, "START_TIMEOUT", 0.0)
    with loop_of(local_queue({"toy": model}, start=start)) as queue:
        reader = follow(queue, ask(queue, "submit", Request.from_json(LONG)))
        assert next(reader) is None
        ask(queue, "close")
        assert [update.reason for update in reader] == ["closing"]


def test_workers_end_with_the_server(processes):
    started = processes.started
    ask(processes, "close")
    wait_for(lambda: not any(process.is_alive() for process in started))
    time.sleep(0.1)
    assert len(started) == 2


@pytest.fixture
def link():
    """A worker's link, and the server's end of its pipe."""
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        link = pipe.PipeLink(theirs, ["toy"])
        yield link, ours
        ours.close()
        assert link.closed.wait(TIMEOUT)


def test_a_worker_is_ready_once_and_not_when_it_stops(link):
    one, ours = link
    for announcement in ("", "{}", "{}", ""):
        one.announce(announcement, {})
        one.publish("toy", {}, [])
    assert [pipe.receive(ours)[0] for _ in range(5)] == ["publish", "ready", *3 * ["publish"]]


def test_a_job_that_is_stopped_after_its_end_is_forgotten(link):
    one, ours = link

    def give(job_id):
        pipe.send(ours, "start", "toy", job_id, "", [], 1)
        assert wait_for(lambda: one.take("toy")).job_id == job_id

    give("a")
    pipe.send(ours, "stop", "a")
    wait_for(lambda: one.unwanted(["a", "b"]) == ["a"])
    one.publish("toy", {}, ["a"])
    pipe.send(ours, "stop", "a")
    give("b")
    assert one.unwanted(["a", "b"]) == []


def test_a_worker_ends_after_an_unexpected_message(link, caplog):
    one, ours = link
    ours.send_bytes(b"garbage")
    assert one.closed.wait(TIMEOUT)
    assert "JSONDecodeError" in caplog.text


class Supervised:
    """A `WorkerProcess` without processes. The test is its event loop."""

    def __init__(self, monkeypatch):
        self.calls, self.pipes, self.threads, self.alive = SimpleQueue(), SimpleQueue(), [], []
        self.opened = []
        self.joining = threading.Event()
        outer = self

        class Thread(threading.Thread):
            """Thread that tells when another one waits for it."""

            def start(self):
                outer.threads.append(self)
                super().start()

            def join(self, timeout=None):
                outer.joining.set()
                super().join(timeout)

        loop = SimpleNamespace(call_soon_threadsafe=lambda *call: self.calls.put(call))
        monkeypatch.setattr(module, "RESTART_DELAY", 0.0)
        monkeypatch.setattr(module, "asyncio", SimpleNamespace(get_running_loop=lambda: loop))
        monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=Thread))
        self.worker = module.WorkerProcess(self.start, (), lambda *message: None)

    def start(self, target, args, daemon):
        self.alive.append([thread.is_alive() for thread in self.threads[1:]])
        self.opened.append(Connection(os.dup(args[0].fileno())))
        self.pipes.put(self.opened[-1])
        return SimpleNamespace(start=lambda: None, terminate=lambda: None, join=lambda: None)

    def process(self):
        """Return the pipe of the next process, which is ready, and the calls up to this message."""
        theirs, calls = self.pipes.get(timeout=TIMEOUT), []
        theirs.send_bytes(b'["ready"]')
        while not calls or calls[-1][-1] != "ready":
            calls.append(self.calls.get(timeout=TIMEOUT))
        return theirs, calls


@pytest.fixture
def supervised(monkeypatch):
    one = Supervised(monkeypatch)
    yield one
    one.worker.close()
    for theirs in one.opened:
        theirs.close()
    one.threads[0].join(TIMEOUT)


def run(calls):
    for function, *arguments in calls:
        function(*arguments)


def test_a_job_that_a_dead_worker_is_given_is_not_sent_to_its_successor(supervised):
    """It is given to a worker again when the event loop has handled the death."""
    first, calls = supervised.process()
    run(calls)
    first.close()
    second, calls = supervised.process()
    supervised.worker.send("start", "lost")
    run(calls)
    supervised.worker.send("start", "again")
    assert pipe.receive(second) == ["start", "again"]


def test_a_pipe_is_closed_when_its_writer_has_ended(supervised, monkeypatch):
    """Otherwise, the writer could write to a file that has the same descriptor."""
    sending = threading.Event()
    monkeypatch.setattr(pipe, "send", lambda *message: (sending.set(), supervised.joining.wait(TIMEOUT)))
    first, calls = supervised.process()
    run(calls)
    supervised.worker.send("start")
    assert sending.wait(TIMEOUT)
    first.close()
    supervised.process()[0].close()
    assert supervised.alive[:2] == [[], [False]]
