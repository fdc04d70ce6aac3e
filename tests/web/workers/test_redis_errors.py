"""Test jobs that fail, dead workers, and errors in the threads of workers."""

import threading

import pytest
from redis_helpers import published, put, text_of, worker_in_thread
from web_helpers import LONG, wait_for

from minichar.web import redis_link, worker
from minichar.web.errors import Busy
from minichar.web.redis_link import RedisLink
from minichar.web.request import Request
from minichar.web.store import GROUP, key
from minichar.web.worker import Order


def test_an_unexpected_error_while_reading_ends_only_the_current_readers(
    queue, running_worker, sampled, monkeypatch, caplog
):
    long = queue.submit(Request.from_json(LONG))
    reader = filter(None, queue.follow(long))
    assert next(reader).text
    workers, read = queue.queue, queue.queue._read_once

    async def fail():
        monkeypatch.setattr(workers, "_read_once", read)
        raise RuntimeError("boom")

    monkeypatch.setattr(workers, "_read_once", fail)
    *_, last = reader
    assert last.reason == "closing"
    assert "boom" in caplog.text
    queue.cancel(long)
    request = Request.from_json({"length": 300, "seed": 5})
    assert text_of(queue, queue.submit(request)) == (sampled(300), "length")


@pytest.mark.parametrize("method", ["announce", "take", "publish", "unwanted"])
def test_a_worker_survives_unexpected_errors(queue, redis_url, model, sampled, monkeypatch, caplog, method):
    """Each method is called in one of the threads of a worker."""
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.2)
    monkeypatch.setattr(worker, "READ_TIMEOUT", 0.1)
    monkeypatch.setattr(worker, "RETRY_DELAY", 0.01)
    with worker_in_thread(redis_url, model) as one:
        errors, original = [RuntimeError("boom")], getattr(one.link, method)

        def fail_once(*arguments):
            if errors:
                raise errors.pop()
            return original(*arguments)

        monkeypatch.setattr(one.link, method, fail_once)
        request = Request.from_json({"length": 300, "seed": 5})
        text, reason = text_of(queue, queue.submit(request))
        wait_for(lambda: "boom" in caplog.text)
        # An error while a job starts, or its text is published, ends the job.
        assert (text, reason) == (sampled(300), "length") or reason == "error"
        assert text_of(queue, queue.submit(request)) == (sampled(300), "length")


@pytest.mark.parametrize("errors", [1, 2])
def test_an_unexpected_error_while_publishing_ends_the_current_jobs(
    queue, running_worker, sampled, monkeypatch, errors
):
    """If the error message cannot be published either, the worker gives up on the job."""
    monkeypatch.setattr(worker, "RETRY_DELAY", 0.01)
    publish, left = running_worker.link.publish, [RuntimeError("boom")] * errors

    def fail(model, news, ended):
        if left and news:
            raise left.pop()
        publish(model, news, ended)

    monkeypatch.setattr(running_worker.link, "publish", fail)
    request = Request.from_json({"length": 300, "seed": 5})
    job_id = queue.submit(request)
    if errors == 1:
        last = list(filter(None, queue.follow(job_id)))[-1]
        assert (last.reason, last.error) == ("error", "internal error: see the worker log")
    wait_for(lambda: not left and not running_worker.jobs["toy"])
    assert queue.job_counts() == {"unfinished": errors - 1}  # another worker would take it
    assert text_of(queue, queue.submit(request)) == (sampled(300), "length")


def test_texts_continue_when_redis_has_memory_again(queue, client, db, running_worker, caplog):
    job_id = queue.submit(Request.from_json(LONG))
    updates = filter(None, queue.follow(job_id))
    assert next(updates).text
    db.config_set("maxmemory", 1)
    try:
        wait_for(lambda: "Redis: " in caplog.text)
        for method, path in (("POST", "/api/generate"), ("GET", "/readyz")):
            assert client.open(path, method, json={}).status_code == 503
        with pytest.raises(Busy):
            queue.submit(Request.from_json({}))
        assert queue.queue.texts.in_progress().keys() <= {job_id}  # a refused text takes no memory
        *_, last = updates
        assert last.reason == "closing"
    finally:
        db.config_set("maxmemory", 0)
    assert job_id not in caplog.text
    assert next(filter(None, queue.follow(job_id, last.end))).text
    queue.cancel(job_id)


def test_heartbeats_keep_the_jobs_of_a_worker(db, redis_url, monkeypatch):
    monkeypatch.setattr(redis_link, "READ_TIMEOUT", 0.01)
    one, other = RedisLink(redis_url), RedisLink(redis_url)
    one.announce("{}", {"toy": []})
    put(db, "job", queued=True)
    assert one.take("toy")
    monkeypatch.setattr(redis_link, "HEARTBEAT_TIMEOUT", 0.4)
    for _ in range(10):
        one.announce("{}", {"toy": ["job"]})
        assert other.take("toy") is None
        threading.Event().wait(0.1)
    assert wait_for(lambda: other.take("toy")).attempts == 2


def test_a_job_that_is_taken_again_by_the_same_worker_runs_once(db, running_worker):
    """This happens if Redis was unreachable, so that the worker seemed to be dead."""
    put(db, "job", length=20000, queued=True)
    wait_for(lambda: "job" in running_worker.jobs["toy"])
    task = running_worker.jobs["toy"]["job"]
    running_worker.start("toy", Order("job", db.get(key("request", "job")), [], 2))
    assert running_worker.jobs["toy"]["job"] is task
    db.set(key("cancelled", "job"), "", px=60_000)
    wait_for(lambda: not running_worker.jobs["toy"])


def test_a_worker_creates_the_group_again_if_redis_has_lost_it(queue, db, running_worker, sampled):
    db.flushall()
    wait_for(queue.models)
    assert text_of(queue, queue.submit(Request.from_json({"length": 50, "seed": 5}))) == (
        sampled(50),
        "length",
    )
    assert db.xinfo_groups(key("jobs", "toy"))[0]["name"] == GROUP


def test_jobs_that_cannot_be_completed_end_with_an_error(queue, db, running_worker, monkeypatch, caplog):
    def run(job_id, attempts=1, **fields):
        put(db, job_id, **fields)
        running_worker.start("toy", Order(job_id, db.get(key("request", job_id)), [], attempts))
        return list(filter(None, queue.follow(job_id)))[-1]

    last = run("deadly", worker.MAX_ATTEMPTS + 1)
    assert (last.reason, last.error) == ("error", "job failed: 5 workers died while running it")
    assert run("last", worker.MAX_ATTEMPTS, length=5).reason == "length"
    assert "not in the vocabulary" in run("unknown", prime="☃").error
    monkeypatch.setattr(running_worker.schedulers["toy"], "submit", lambda job: 1 / 0)
    assert run("bug").error == "internal error: see the worker log"
    assert "ZeroDivisionError" in caplog.text
    running_worker.start("toy", Order("expired", None))
    wait_for(lambda: not running_worker.jobs["toy"])
    assert published(db, "expired") == []
