"""Test a full queue, waiting jobs, and worker processes that die."""

import os
import signal
import time
from contextlib import suppress

import pytest
from web_helpers import (
    LONG,
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


def test_full_queue_returns_503(client):
    """The queue accepts 8 running and 4 waiting jobs."""
    held = [client.post("/api/generate", json={"length": 20000}) for _ in range(12)]
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


def test_a_waiting_job_reports_its_position(client, queue):
    held = [client.post("/api/generate", json={"length": 20000}) for _ in range(8)]
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
        pipe.send(self.pipe, "announce", "")
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
            pipe.send(self.pipe, "announce", "")
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
