"""Test how workers share the jobs of a queue."""

import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from minichar.web.jobs import KEEP
from redis_helpers import worker_in_thread
from web_helpers import LONG, wait_for

from minichar.web import redis_queue, worker
from minichar.web.request import Request
from minichar.web.worker import Worker

dramatiq = pytest.importorskip("dramatiq")


def test_a_burst_is_spread_over_the_workers(queue, redis_url, model, monkeypatch):
    monkeypatch.setattr(worker, "HEARTBEAT_INTERVAL", 0.1)
    with ExitStack() as stack:
        workers = [stack.enter_context(worker_in_thread(redis_url, model, columns=16)) for _ in range(2)]
        wait_for(lambda: all(one._total_columns == {"toy": 32} for one in workers))
        store, jobs = queue._store, [f"job{i}" for i in range(16)]
        for job_id in jobs:
            store.put("request", job_id, Request.from_json(LONG | {"model": "toy"}).dump(), 60)
        store.keep_reading(jobs)
        name = redis_queue.queue_name("toy")
        with store.broker.client.pipeline() as pipeline:  # all at the same time
            for job_id in jobs:
                message = dramatiq.Message(name, name, (job_id,), {}, {"redis_message_id": job_id})
                pipeline.hset(f"minichar:{name}.msgs", job_id, message.encode())
                pipeline.rpush(f"minichar:{name}", job_id)
            pipeline.execute()
        wait_for(lambda: sum(len(one.tasks["toy"]) for one in workers) == 16)
        taken = [len(one.tasks["toy"]) for one in workers]
        for job_id in jobs:
            queue.cancel(job_id)
    assert max(taken) <= 10


@pytest.fixture
def take(monkeypatch):
    """Return a function that lets a worker take jobs at a given time, and returns how many it then runs."""
    clock, workers = [0.0], []
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def take(one, now, columns, model="toy"):
        clock[0], one._total_columns[model] = now, columns
        workers.append(one)
        one._take_share(model, one.store.broker.consume(redis_queue.queue_name(model), timeout=10))
        return len(one.tasks[model])

    yield take
    for one in workers:
        for scheduler in one.schedulers.values():
            scheduler.close()


def test_a_worker_takes_its_share_and_later_jobs_that_no_worker_takes(queue, redis_url, model, take):
    one = Worker(redis_url, {"toy": model}, 8, pace=100.0)
    for worker_id in "ab":
        one.store.announce(worker_id, one.announcement)
    for _ in range(11):
        queue.submit(Request.from_json(LONG))
    times = (0.0, 44), (0.0, 16), (0.9, 16), (1.1, 16), (1.2, 16), (2.2, 16), (9.0, 16)
    assert [take(one, *at) for at in times] == [2, 6, 6, 7, 7, 8, 8]


def test_a_job_that_has_just_arrived_is_left_to_the_other_worker(queue, redis_url, model, take):
    one, other = (Worker(redis_url, {"toy": model}, 8, pace=100.0) for _ in range(2))
    one.store.announce("one", one.announcement)
    for _ in range(5):
        queue.submit(Request.from_json(LONG))
    assert (take(one, 0.0, 16), take(other, 0.0, 16), take(one, 5.0, 16)) == (3, 2, 3)
    queue.submit(Request.from_json(LONG))
    assert (take(one, 5.5, 16), take(other, 5.5, 16)) == (3, 3)


def test_shares_are_in_proportion_to_the_columns(queue, redis_url, model, take):
    small = Worker(redis_url, {"a": model}, 4, pace=100.0)
    large = Worker(redis_url, {"a": model, "b": model}, 12, pace=100.0)
    for one in (small, large):
        one.store.announce(one.id, one.announcement)
    assert [small.store.columns(name) for name in "abc"] == [16, 12, 0]
    for _ in range(8):
        queue.submit(Request.from_json(LONG | {"model": "a"}))
    assert (take(small, 0.0, 16, "a"), take(large, 0.0, 16, "a")) == (2, 6)


def test_every_key_expires_even_if_the_only_worker_dies_at_once(queue, redis_url, model, take):
    """The worker sends no heartbeat after the server has queued the jobs or after it has taken one."""
    one, store = Worker(redis_url, {"toy": model}, 1, pace=100.0), queue._store

    def without_expiry():
        return [key for key in store.client.scan_iter() if not 0 < store.client.pttl(key) <= 1000 * KEEP]

    store.announce(one.id, one.announcement)
    for _ in range(2):
        queue.submit(Request.from_json(LONG))
    assert without_expiry() == []
    assert take(one, 0.0, 1) == 1
    name = redis_queue.queue_name("toy")
    assert store.client.exists(f"minichar:__acks__.{one.store.broker.broker_id}.{name}")
    assert without_expiry() == []


def test_a_worker_is_dead_after_five_seconds_without_a_heartbeat(queue, redis_url, model, take):
    dead, other = (Worker(redis_url, {"toy": model}, 1, pace=100.0) for _ in range(2))
    dead.store.announce(dead.id, dead.announcement)
    client = queue._store.client
    assert 4000 < client.pttl(f"minichar:worker:{dead.id}") <= 5000
    queue.submit(Request.from_json(LONG))
    assert take(dead, 0.0, 2) == 1
    for seconds, taken in ((4.0, 0), (5.1, 1)):
        last = 1000 * (time.time() - seconds)
        client.zadd("minichar:__heartbeats__", {dead.store.broker.broker_id: last})
        assert take(other, 0.0, 2) == taken
