"""Test that jobs, workers and servers survive the end of a worker, a server or Redis."""

import re
import signal
import threading
from functools import partial

import pytest
from optional import free_port
from redis_helpers import published, put, redis_queue, text_of, worker_in_thread
from web_helpers import (
    LONG,
    TIMEOUT,
    Events,
    Sync,
    client_of,
    loop_of,
    redis_server,
    request,
    server_in_thread,
    wait_for,
)

from minichar.web import worker
from minichar.web.details import Details
from minichar.web.errors import Unavailable
from minichar.web.redis_link import RedisLink
from minichar.web.request import Request
from minichar.web.store import key
from minichar.web.update import Update
from minichar.web.worker import Worker

BEST = "lm_lstm_epoch1.00_1.2345.npz"


@pytest.mark.parametrize("start", [0, 30])
def test_worker_continues_the_published_text(queue, db, running_worker, sampled, start):
    """The published text is kept even if this worker would have generated different text."""
    plain = sampled(300)
    other = next(c for c in "abc" if c != plain[89])
    branched = Request.from_json({"length": 300, "seed": 5, "branches": [[89, other]], "from": start})
    whole, _ = text_of(queue, queue.submit(branched), start)
    parts = [  # published by two workers
        Update(whole[: 50 - start], Details(), 50),
        Update(whole[40 - start : 90 - start], Details(), 90),
    ]
    put(db, "left", *parts, length=300, **{"from": start})
    db.xadd(key("jobs", "toy"), {"job": "left"})
    updates = [update for update in queue.follow("left", start) if update]
    assert "".join(update.text for update in updates) == whole
    before = published(db, "left")
    db.xadd(key("jobs", "toy"), {"job": "left"})  # taken again, without effect, because the job has ended
    wait_for(lambda: not db.xlen(key("jobs", "toy")))
    assert published(db, "left") == before


def test_server_and_worker_wait_for_redis_and_reconnect_after_its_restart(
    tmp_path, model, sampled, monkeypatch, caplog
):
    monkeypatch.setattr("minichar.web.texts.READ_TIMEOUT", 0.1)
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.1)
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    one, ready = Worker(RedisLink(url), {"toy": model}, 2, pace=0.0), threading.Event()
    thread = threading.Thread(target=one.run, args=(ready.set,), daemon=True)

    def check():
        assert ready.wait(TIMEOUT)
        wait_for(lambda: client.get("/readyz").status_code == 200)
        job_id = queue.submit(Request.from_json({"length": 50, "seed": 5}))
        assert text_of(queue, job_id) == (sampled(50), "length")

    with client_of(served := redis_queue(url)) as client:
        queue = Sync(served)
        assert [client.get(path).status_code for path in ("/", "/healthz", "/readyz")] == [200, 200, 503]
        thread.start()
        assert not ready.wait(0.5)
        with redis_server(port, tmp_path) as first:
            check()
            put(one.link.client, "job")
            updates = queue.follow("job", 7)
            assert next(updates) is None
            first.kill()
            first.wait()
        assert [update for update in updates if update] == [Update("", Details(), 7, "closing")]
        gone = (partial(method, "x") for method in (queue.text, queue.cancel))
        for call in (queue.models, queue.job_counts, queue.check, *gone):
            with pytest.raises(Unavailable, match="Redis is not responding"):
                call()
        with redis_server(port, tmp_path):
            check()
            one.stopping.set()
            thread.join(20)
    one.link.client.connection_pool.disconnect()
    assert not thread.is_alive()
    assert "unexpected error" not in caplog.text


@pytest.fixture
def port(redis_url):
    with server_in_thread(redis_queue(redis_url)) as port:
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


def test_stopped_worker_does_not_lose_its_jobs_to_another_one(queue, redis_url, model, monkeypatch):
    """Completing the jobs takes longer than the heartbeat timeout."""
    monkeypatch.setattr("minichar.web.redis_link.HEARTBEAT_TIMEOUT", 3.0)
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.1)
    with worker_in_thread(redis_url, model, pace=1000) as first:
        job_id = queue.submit(Request.from_json({"length": 5000, "seed": 5}))
        wait_for(lambda: first.jobs["toy"])
        with worker_in_thread(redis_url, model):
            first.stopping.set()
            updates = [update for update in queue.follow(job_id) if update]
    assert (updates[-1].end, updates[-1].reason) == (5000, "length")
    assert not any(update.restarted for update in updates)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_worker_stops_with_unfinished_jobs_if_redis_is_gone(work, folder, tmp_path, number):
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with redis_server(port, tmp_path) as redis:
        only = work("--pace", 100, folder / BEST, url=url)
        with loop_of(redis_queue(url)) as queue:
            job_id = queue.submit(Request.from_json(LONG))
            assert next(filter(None, queue.follow(job_id))).text
        redis.send_signal(number)
        only.send_signal(signal.SIGTERM)
        try:
            assert only.wait(TIMEOUT) == 0
        finally:
            redis.kill()
    only.reader.join()
    assert "finishing the running jobs (press Ctrl-C again to stop at once)\n" in only.output
    error, stopped = only.output.splitlines()[-2:]
    time, _, error = error.partition(" ERROR ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", time)
    assert error == "Redis is not responding: leaving the running jobs to other workers"
    assert stopped == "stopped"


def test_client_resumes_on_another_server(port, redis_url, running_worker, sampled):
    with (
        server_in_thread(redis_queue(redis_url)) as first,
        request(first, "POST", "/api/generate", LONG | {"length": 1500}) as response,
    ):
        events = Events(response)
        path = f"/api/generate/{events.until('begin')[2]['job']}"
        events.until("text")
        with request(port, "GET", path, Last_Event_ID=str(len(events.text))) as resumed:
            rest = Events(resumed).rest()
    assert events.text + rest.text == sampled(1500)
