"""Test that jobs, workers and servers survive the end of a worker, a server or Redis."""

import re
import signal
import threading
from contextlib import ExitStack, suppress

import pytest
from optional import free_port
from redis_helpers import run, text_of, worker_in_thread
from web_helpers import LONG, TIMEOUT, Events, redis_server, request, server_in_thread, wait_for

from minichar.web import subscriber, worker
from minichar.web.app import create_app
from minichar.web.details import Details
from minichar.web.job import Update
from minichar.web.queue import Unavailable
from minichar.web.redis_queue import RedisQueue
from minichar.web.request import Request
from minichar.web.worker import Worker

BEST = "lm_lstm_epoch1.00_1.2345.npz"


def test_worker_continues_the_published_text(queue, running_worker, sampled):
    """The published text is kept even if this worker would have generated different text."""
    plain = sampled(300)
    other = next(c for c in "abc" if c != plain[89])
    branched = Request.from_json({"length": 300, "seed": 5, "branches": [[89, other]]})
    whole, _ = text_of(queue, queue.submit(branched))
    store = running_worker.store
    store.put("request", "left", Request.from_json({"model": "toy", "length": 300, "seed": 5}).dump(), 60)
    store.put("seen", "left", "", 60)
    store.increment("attempts", "left")
    for start, end in ((0, 50), (40, 90)):  # published by two workers
        store.add({"left": [Update(whole[start:end], Details(), end)]})
    run(running_worker, "left")
    updates = [update for update in queue.follow("left", 0) if update]
    assert "".join(update.text for update in updates) == whole
    assert [update.end for update in updates if update.restarted] == [90]
    before = store.updates("left")
    run(running_worker, "left")  # no effect, because the job has ended
    assert store.updates("left") == before


def test_redis_may_start_after_the_server_and_the_worker(tmp_path, model, sampled, monkeypatch):
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.1)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    queue = RedisQueue(url, queue=1)
    health = create_app(queue).test_client()
    assert health.get("/").status_code == 200
    assert health.get("/healthz").status_code == 503
    one, ready = Worker(url, {"toy": model}, 2, pace=0.0), threading.Event()
    thread = threading.Thread(target=one.run, args=(ready.set,))
    thread.start()
    assert not ready.wait(0.5)
    with redis_server(port, tmp_path):
        assert ready.wait(TIMEOUT)
        assert wait_for(lambda: health.get("/healthz").status_code == 200)
        assert text_of(queue, queue.submit(Request.from_json({"length": 50, "seed": 5}))) == (
            sampled(50),
            "length",
        )
        one.stopping.set()
        thread.join(20)
    queue.close()


def test_worker_and_server_reconnect_after_a_redis_restart(tmp_path, model, sampled, monkeypatch, caplog):
    monkeypatch.setattr(subscriber, "READ_TIMEOUT", 0.1)
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.2)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with redis_server(port, tmp_path) as first, ExitStack() as second:
        queue = RedisQueue(url, queue=1)
        with worker_in_thread(url, model):
            queue._store.put("request", "job", Request.from_json({"model": "toy"}).dump(), 60)
            updates = queue.follow("job", 7)
            assert next(updates) is None
            first.kill()
            first.wait()
            assert [update for update in updates if update] == [Update("", Details(), 7, "closing")]
            for call in (
                queue.models,
                queue.job_counts,
                lambda: queue.request("x"),
                lambda: queue.cancel("x"),
            ):
                with pytest.raises(Unavailable, match="Redis is not responding"):
                    call()
            second.enter_context(redis_server(port, tmp_path))
            wait_for(queue.models)
            job_id = queue.submit(Request.from_json({"length": 50, "seed": 5}))
            assert text_of(queue, job_id) == (sampled(50), "length")
        queue.close()
    assert "unexpected error" not in caplog.text


@pytest.fixture
def port(queue):
    with server_in_thread(queue) as port:
        yield port


def test_jobs_of_a_killed_worker_are_continued(port, work, folder, sampled):
    """The client receives a notice, and every character exactly once."""
    first = work("--pace", 500, folder / BEST)
    with request(port, "POST", "/api/generate", LONG | {"length": 2000}) as response:
        events = Events(response)
        events.until("text")
        first.kill()
        work("--pace", 0, folder / BEST)
        assert 0 < events.until("notice")[1] < 2000
        events.rest()
    assert events.text == sampled(2000)
    assert events.all[-1][1:] == (2000, {"reason": "length"})


def test_stopped_worker_completes_its_jobs(port, work, folder, sampled):
    only = work("--pace", 1000, folder / BEST)
    with request(port, "POST", "/api/generate", LONG | {"length": 500}) as response:
        events = Events(response)
        events.until("text")
        only.send_signal(signal.SIGINT)
        assert events.rest().text == sampled(500)
        assert events.all[-1][1:] == (500, {"reason": "length"})
    assert only.wait(TIMEOUT) == 0
    only.reader.join()
    assert "finishing the running jobs" in only.output
    assert only.output.endswith("stopped\n")
    with request(port, "GET", "/healthz") as response:
        assert response.status == 503


def test_stopped_worker_does_not_lose_its_jobs_to_another_one(queue, redis_url, model, monkeypatch):
    """Completing the jobs takes longer than the heartbeat timeout."""
    monkeypatch.setattr("minichar.web.store.HEARTBEAT_TIMEOUT", 1.0)
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.1)
    with worker_in_thread(redis_url, model) as first:
        job_id = queue.submit(Request.from_json({"length": 9000, "seed": 5}))
        wait_for(lambda: first.tasks["toy"])
        with worker_in_thread(redis_url, model):
            first.stopping.set()
            updates = [update for update in queue.follow(job_id, 0) if update]
    assert (updates[-1].end, updates[-1].reason) == (9000, "length")
    assert not any(update.restarted for update in updates)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_worker_stops_with_unfinished_jobs_if_redis_is_gone(work, folder, tmp_path, number):
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with redis_server(port, tmp_path) as redis:
        queue, only = RedisQueue(url, queue=1), work("--pace", 100, folder / BEST, url=url)
        assert next(filter(None, queue.follow(queue.submit(Request.from_json(LONG)), 0))).text
        redis.send_signal(number)
        only.send_signal(signal.SIGTERM)
        try:
            assert only.wait(TIMEOUT) == 0
        finally:
            redis.kill()
    queue.close()
    only.reader.join()
    finishing, error, stopped = only.output.splitlines()[-3:]
    assert finishing == "finishing the running jobs (press Ctrl-C again to stop at once)"
    time, _, error = error.partition(" ERROR ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", time)
    assert error == "Redis is not responding: leaving the running jobs to other workers"
    assert stopped == "stopped"


def test_client_resumes_on_another_server(port, redis_url, serve, running_worker, sampled):
    server = serve("--redis", redis_url)
    with request(server.found[1], "POST", "/api/generate", LONG | {"length": 1500}) as response:
        events = Events(response)
        job_id = events.until("begin")[2]["job"]
        events.until("text")
        server.kill()
        with suppress(OSError):
            events.rest()
    with request(port, "GET", f"/api/generate/{job_id}", Last_Event_ID=str(len(events.text))) as response:
        rest = Events(response).rest()
    assert events.text + rest.text == sampled(1500)
