"""Test servers and workers that share a Redis server."""

import threading

import pytest
from redis_helpers import text_of, worker_in_thread
from toys import toy_model
from web_helpers import LONG, wait_for

from minichar.sampling.generate import generate
from minichar.web import legacy, redis_queue
from minichar.web.app import create_app
from minichar.web.job import Busy
from minichar.web.queue import Unavailable
from minichar.web.request import BadRequest, Request


def test_output_equals_minichar_sample(queue, running_worker, sampled):
    job_id = queue.submit(Request.from_json({"length": 500, "seed": 5, "alternatives": True}))
    whole = sampled(500)
    assert text_of(queue, job_id) == (whole, "length")
    assert text_of(queue, job_id, 123) == (whole[123:], "length")
    assert text_of(queue, job_id, 500) == ("", "length")
    assert sum(len(update.details) for update in queue.follow(job_id, 0) if update) == 500
    assert queue.request(job_id).seed == 5
    wait_for(lambda: queue.job_counts() == {"unfinished": 0})


def test_cancelled_and_abandoned_jobs_stop(queue, running_worker, monkeypatch):
    job_id = queue.submit(Request.from_json(LONG))
    assert any(queue.follow(job_id, 0))
    queue.cancel(job_id)
    text, reason = text_of(queue, job_id)
    assert reason == "cancelled"
    assert len(text) < 20000

    monkeypatch.setattr("minichar.web.store.UNSEEN_AFTER", 0.3)
    monkeypatch.setattr("minichar.web.subscriber.ABANDONED_AFTER", 0.3)
    job_id = queue.submit(Request.from_json(LONG))
    next(queue.follow(job_id, 0))
    wait_for(lambda: any(u.reason == "cancelled" for u in running_worker.store.updates(job_id)))


def test_polling_returns_the_whole_text(queue, running_worker, sampled):
    client = create_app(queue).test_client()
    job_id = client.post("/api", json={"primetext": "山中", "seed": 5}).json["sid"]

    def poll(sid=job_id):
        responds = client.post("/res", json={"sid": sid}).json["responds"]
        return responds != "0" and responds

    assert wait_for(poll) == "山中" + sampled(1000, "山中") + "……"
    assert len(queue._store.updates(job_id)) > 1
    assert poll("\ud800") is False  # cannot be encoded


def test_polling_a_running_job(queue, running_worker, monkeypatch):
    monkeypatch.setattr(legacy, "LENGTH", 20000)
    client = create_app(queue).test_client()
    job_id = client.post("/api", json={"primetext": ""}).json["sid"]
    next(filter(None, queue.follow(job_id, 0)))
    assert client.post("/res", json={"sid": job_id}).json["responds"] == "0"
    assert running_worker.tasks["toy"]
    threading.Timer(0.3, queue.close).start()  # another server may continue the text
    assert client.post("/res", json={"sid": job_id}).json["responds"] == "0"
    running_worker.store.put("cancelled", job_id, "", 60)


def test_alternatives_expire_soon_after_the_end_but_not_before(queue, running_worker):
    """While a job is running, another worker may have to continue its text."""

    def left(job_id):
        return [queue._store.client.pttl(f"minichar:{kind}:{job_id}") / 1000 for kind in ("request", "text")]

    job_id = queue.submit(Request.from_json(LONG | {"alternatives": True}))
    updates = filter(None, queue.follow(job_id, 0))
    assert next(updates).details
    assert min(left(job_id)) > 30
    queue.cancel(job_id)
    assert list(updates)[-1].reason == "cancelled"
    assert 0 < max(left(job_id)) <= 30


def test_full_queue_rejects_jobs(queue, redis_url, model):
    with worker_in_thread(redis_url, model, columns=1):
        jobs = [queue.submit(Request.from_json(LONG)) for _ in range(2)]
        with pytest.raises(Busy, match="too many"):
            queue.submit(Request.from_json(LONG))
        for job_id in jobs:
            queue.cancel(job_id)
        wait_for(lambda: queue.job_counts() == {"unfinished": 0})
        assert queue.submit(Request.from_json({"length": 5}))


def test_requests_without_a_worker_and_invalid_requests(queue, redis_url, model):
    with pytest.raises(Unavailable, match="no worker"):
        queue.submit(Request.from_json({}))
    assert queue.models() == []
    with worker_in_thread(redis_url, model):
        assert [model.name for model in queue.models()] == ["toy"]
        for invalid in ({"model": "other"}, {"prime": "☃"}):
            with pytest.raises(BadRequest):
                queue.submit(Request.from_json(invalid))
        with pytest.raises(KeyError):
            queue.request("none")
    assert queue.models() == []
    assert not queue._store.client.exists("minichar:workers")


def test_position_of_a_waiting_job(queue, redis_url, model):
    with worker_in_thread(redis_url, model, columns=1) as one:
        running = queue.submit(Request.from_json(LONG))
        wait_for(lambda: one.tasks["toy"])
        waiting = queue.submit(Request.from_json(LONG))
        assert [queue.position(job_id) for job_id in (running, waiting)] == [None, 1]
        for job_id in (running, waiting):
            queue.cancel(job_id)
    with pytest.raises(Unavailable, match="no worker"):
        queue.position(waiting)


def test_cancelled_and_abandoned_jobs_leave_the_queue(queue, redis_url, model):
    """Otherwise, one client could fill the queue by submitting and cancelling jobs."""
    with worker_in_thread(redis_url, model, columns=1) as one:
        running = queue.submit(Request.from_json(LONG))
        wait_for(lambda: one.tasks["toy"])
        reading = threading.Thread(target=text_of, args=(queue, running))
        reading.start()
        for _ in range(5):  # there is room for one waiting job
            job_id = queue.submit(Request.from_json(LONG))
            assert queue.cancel(job_id)
            assert text_of(queue, job_id) == ("", "cancelled")
        abandoned = queue.submit(Request.from_json(LONG))
        queue._store.client.delete(f"minichar:seen:{abandoned}")
        assert wait_for(lambda: queue._store.updates(abandoned))[-1].reason == "cancelled"
        assert queue._store.updates(running)[-1].reason is None
        assert queue.submit(Request.from_json(LONG))
        assert not queue.cancel(running)
        reading.join()


def test_cancelling_a_waiting_job_does_not_mark_it_for_removal_by_a_worker(queue, redis_url, model):
    """If a worker removed the job first, `cancel` would report that it was not waiting."""
    with worker_in_thread(redis_url, model, columns=1) as one:
        running = queue.submit(Request.from_json(LONG))
        wait_for(lambda: one.tasks["toy"])
        waiting = queue.submit(Request.from_json(LONG))
        assert [queue.cancel(waiting), queue.cancel(running)] == [True, False]
        assert [queue._store.get("cancelled", job_id) for job_id in (waiting, running)] == [None, ""]


def test_cancelling_an_unknown_job_stores_nothing(queue):
    """Otherwise, anyone could fill Redis."""
    client = create_app(queue).test_client()
    for job_id in ("unknown", "x" * 16000, "%ED%A0%80", "山"):
        assert client.delete(f"/api/generate/{job_id}").status_code == 204
    assert [*queue._store.client.scan_iter("minichar:cancelled:*")] == []
    assert not queue.cancel("unknown")
    assert not queue.cancel("\ud800")


def test_a_worker_does_not_start_a_job_that_was_cancelled(queue, running_worker, monkeypatch):
    monkeypatch.setattr(running_worker.schedulers["toy"], "submit", lambda job: pytest.fail("called"))
    for job_id, kind in (("cancelled", "cancelled"), ("unread", "attempts")):
        running_worker.store.put("request", job_id, Request.from_json({"model": "toy"}).dump(), 60)
        running_worker.store.put(kind, job_id, "0", 60)
        running_worker.start("toy", job_id, acknowledge=lambda: None)
        assert text_of(queue, job_id) == ("", "cancelled")


def test_cancelling_a_running_job_does_not_lift_the_limit_at_once(queue, running_worker):
    """The job occupies a worker until the worker has ended it."""
    client = create_app(queue, per_client=1).test_client()
    job_id = client.post("/api", json={"primetext": ""}).json["sid"]
    wait_for(lambda: running_worker.tasks["toy"])
    assert client.delete(f"/api/generate/{job_id}").status_code == 204
    assert client.post("/api", json={"primetext": ""}).status_code == 429


def test_every_key_expires(queue, running_worker):
    """The worker runs two jobs, of which one is made a dead letter, and a third one waits."""
    job_id = queue.submit(Request.from_json({"length": 1001}))
    text_of(queue, job_id)
    queue.cancel(job_id)
    wait_for(lambda: queue.job_counts() == {"unfinished": 0})
    store = running_worker.store
    jobs = [queue.submit(Request.from_json(LONG)) for _ in range(3)]
    wait_for(lambda: len(running_worker.tasks["toy"]) == 2)
    name = redis_queue.queue_name("toy")
    store.broker.do_nack(name, store.get("message", jobs[0]))
    wait_for(lambda: all(0 < store.client.pttl(key) <= 600_000 for key in store.client.scan_iter()))
    of_jobs = {"request", "message", "text", "seen", "cancelled", "attempts", "snapshot"}
    of_workers = {"worker", "workers", "__heartbeats__", f"__acks__.{store.broker.broker_id}.{name}"}
    of_queue = {name, f"{name}.msgs", f"{name}.XQ", f"{name}.XQ.msgs"}
    names = {key.split(":")[1] for key in store.client.scan_iter()}
    assert names == of_jobs | of_workers | of_queue
    for job_id in jobs:
        queue.cancel(job_id)


def test_without_a_prompt_a_worker_starts_at_the_beginning_of_a_document(queue, redis_url):
    model = toy_model("\nab", scale=40.0)
    model.details["settings"] = {"reset_on": "a"}
    with worker_in_thread(redis_url, model):
        job_id = queue.submit(Request.from_json({"length": 60, "seed": 5, "stop": []}))
        text, _ = text_of(queue, job_id)
    assert text == "".join(generate(model.exact(), 60, seed=5))
    assert text != "".join(generate(model.exact(), 60, prime="\n", seed=5))
