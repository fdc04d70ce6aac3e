"""Fixtures with a job queue and a worker that share a Redis server."""

import pytest


@pytest.fixture
def queue(redis_url):
    """Job queue in Redis, with room for one waiting job."""
    from minichar.web.redis_queue import RedisQueue

    queue = RedisQueue(redis_url, queue=1)
    yield queue
    queue.close()


@pytest.fixture
def running_worker(redis_url, model, monkeypatch):
    from redis_helpers import worker_in_thread

    monkeypatch.setattr("minichar.web.worker.HEARTBEAT_INTERVAL", 0.2)
    with worker_in_thread(redis_url, model) as one:
        yield one
