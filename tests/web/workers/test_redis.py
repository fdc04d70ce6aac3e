"""Test servers and workers that share a Redis server."""

import threading

import pytest
from redis_helpers import DEFAULTS, published, put, text_of, worker_in_thread
from web_helpers import LONG, wait_for

from minichar.web.errors import Busy, NoSuchJob, Refused, Unavailable
from minichar.web.request import Request
from minichar.web.store import key


def test_output_equals_minichar_sample(queue, running_worker, sampled):
    job_id = queue.submit(Request.from_json({"length": 500, "seed": 5, "alternatives": True}))
    whole = sampled(500)
    assert text_of(queue, job_id) == (whole, "length")
    for after in (123, 500, 900):
        assert text_of(queue, job_id, after) == (whole[after:], "length")
    assert sum(len(update.details) for update in queue.follow(job_id) if update) == 500
    assert queue.text(job_id).request.seed == 5
    wait_for(lambda: queue.job_counts() == {"unfinished": 0})
    late = queue.submit(Request.from_json({"length": 500, "seed": 5, "from": 490}))
    assert text_of(queue, late, 490) == (whole[490:], "length")


def test_cancelled_and_abandoned_jobs_stop(queue, db, running_worker):
    for abandon in (queue.cancel, lambda job_id: db.delete(key("seen", job_id))):
        job_id = queue.submit(Request.from_json(LONG))
        reader = filter(None, queue.follow(job_id))
        assert next(reader).text
        abandon(job_id)
        *_, last = reader
        assert last.reason == "cancelled"
        assert last.end < 20000


def test_a_job_that_a_worker_takes_while_it_is_cancelled_stops(queue, db, running_worker, monkeypatch):
    job_id = queue.submit(Request.from_json(LONG))
    wait_for(lambda: running_worker.jobs["toy"])
    ((entry, _),) = db.xrange(key("jobs", "toy"))

    async def entries(model):
        return {job_id: entry}

    monkeypatch.setattr(queue.queue, "_entries", entries)
    queue.cancel(job_id)
    assert "cancelled" in [update.reason for update in published(db, job_id)]
    assert db.exists(key("cancelled", job_id))
    wait_for(lambda: not running_worker.jobs["toy"])


def test_alternatives_expire_soon_after_the_end_but_not_before(queue, db, running_worker):
    """While a job is running, another worker may have to continue its text."""

    def left(job_id):
        return [db.pttl(key(kind, job_id)) / 1000 for kind in ("request", "text")]

    job_id = queue.submit(Request.from_json(LONG | {"alternatives": True}))
    updates = filter(None, queue.follow(job_id))
    assert next(updates).details
    assert min(left(job_id)) > 30
    queue.cancel(job_id)
    assert list(updates)[-1].reason == "cancelled"
    assert 0 < max(left(job_id)) <= 30


def test_requests_without_a_worker_and_invalid_requests(queue, db, redis_url, model):
    for rejected in (lambda: queue.submit(Request.from_json({})), queue.check):
        with pytest.raises(Unavailable, match="no worker"):
            rejected()
    assert queue.models() == []
    with worker_in_thread(redis_url, model):
        assert [model.name for model in queue.models()] == ["toy"]
        for invalid in ({"model": "other"}, {"prime": "☃"}):
            with pytest.raises(Refused):
                queue.submit(Request.from_json(invalid))
        with pytest.raises(NoSuchJob):
            queue.text("none")
    assert queue.models() == []
    assert not db.exists("minichar:2:workers")


def test_waiting_jobs(queue, db, redis_url, model):
    with worker_in_thread(redis_url, model, columns=1) as one:
        running = queue.submit(Request.from_json(LONG))
        wait_for(lambda: one.jobs["toy"])
        reading = threading.Thread(target=text_of, args=(queue, running))
        reading.start()
        for _ in range(3):  # there is room for one waiting job
            queue.check()
            job_id = queue.submit(Request.from_json(LONG))
            for refused in (lambda: queue.submit(Request.from_json(LONG)), queue.check):
                with pytest.raises(Busy, match="too many"):
                    refused()
            queue.queue._queues.clear()
            assert [queue.position(each) for each in (running, job_id)] == [None, 1]
            queue.cancel(job_id)
            assert text_of(queue, job_id) == ("", "cancelled")
            assert db.pttl(key("text", job_id)) > 0
        abandoned = queue.submit(Request.from_json(LONG))
        db.delete(key("seen", abandoned))
        assert wait_for(lambda: published(db, abandoned))[-1].reason == "cancelled"
        assert published(db, running)[-1].reason is None
        for job_id in (queue.submit(Request.from_json(LONG)), running):
            queue.cancel(job_id)
        reading.join()
        wait_for(lambda: queue.job_counts() == {"unfinished": 0})
    with pytest.raises(Unavailable, match="no worker"):
        queue.position(abandoned)


def test_cancelling_an_unknown_job_stores_nothing(client, db, queue):
    """Otherwise, anyone could fill Redis."""
    for job_id in ("unknown", "x" * 16000, "%ED%A0%80", "%E5%B1%B1"):
        assert client.delete(f"/api/generate/{job_id}").status_code in (204, 431)
    assert client.post("/res", json={"sid": "\ud800"}).json["responds"] == "0"  # cannot be encoded
    assert [*db.scan_iter("minichar:2:cancelled:*")] == []


def test_a_worker_does_not_start_a_job_that_was_cancelled(queue, db, running_worker, monkeypatch):
    monkeypatch.setattr(running_worker.schedulers["toy"], "submit", lambda job: pytest.fail("called"))
    db.set(key("cancelled", "cancelled"), "", px=60_000)
    for job_id in ("cancelled", "unread"):
        put(db, job_id, seen=job_id == "cancelled", queued=True)
        assert text_of(queue, job_id) == ("", "cancelled")


def test_jobs_of_another_version_end(client, db):
    """They are dropped, and their readers receive an error that is not temporary."""
    db.set("minichar:request:old", Request.from_json(DEFAULTS).dump(), px=60_000)
    response = client.get("/api/generate/old")
    assert (response.status_code, response.json["error"]) == (404, "no such job, or it has expired")


def test_every_key_expires(queue, db, running_worker):
    """A job has ended, two are running, one of which is cancelled, and a third one waits."""
    text_of(queue, queue.submit(Request.from_json({"length": 5})))
    queue.check()
    jobs = [queue.submit(Request.from_json(LONG)) for _ in range(3)]
    wait_for(lambda: len(running_worker.jobs["toy"]) == 2 and db.exists(key("text", jobs[0])))
    queue.cancel(jobs[0])
    found = [*db.scan_iter()]
    assert [name for name in found if not 0 < db.pttl(name) <= 600_000 and db.exists(name)] == []
    kinds = {name.removeprefix("minichar:2:").partition(":")[0] for name in found}
    assert kinds == {"jobs", "request", "text", "seen", "cancelled", "worker", "workers", "check"}
    for job_id in jobs:
        queue.cancel(job_id)


def test_workers_share_a_burst(db, redis_url, model):
    with worker_in_thread(redis_url, model, 16) as one, worker_in_thread(redis_url, model, 16) as other:
        with db.pipeline() as pipeline:
            for i in range(16):
                put(pipeline, f"job{i}", length=20000, queued=True)
            pipeline.execute()
        wait_for(lambda: len(one.jobs["toy"]) + len(other.jobs["toy"]) == 16)
        assert max(len(one.jobs["toy"]), len(other.jobs["toy"])) < 16
        for i in range(16):
            db.set(key("cancelled", f"job{i}"), "", px=60_000)
