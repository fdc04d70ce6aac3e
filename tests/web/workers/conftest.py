"""Fixtures with a job queue and a worker that share a Redis server."""

import pytest


@pytest.fixture
def db(redis_url):
    """Client of the Redis server."""
    redis = pytest.importorskip("redis")
    with redis.Redis.from_url(redis_url, decode_responses=True, protocol=2) as client:
        yield client


@pytest.fixture
def queue(redis_url, monkeypatch):
    """Job queue in Redis, with room for one waiting job."""
    from redis_helpers import redis_queue
    from web_helpers import loop_of

    monkeypatch.setattr("minichar.web.errors.LOGGED", {})
    with loop_of(redis_queue(redis_url)) as queue:
        yield queue


@pytest.fixture
def client(redis_url, running_worker):
    """HTTP client of a server with another such queue."""
    from redis_helpers import redis_queue
    from web_helpers import client_of

    with client_of(redis_queue(redis_url), per_client=4) as client:
        yield client


@pytest.fixture
def running_worker(redis_url, model, monkeypatch):
    from redis_helpers import worker_in_thread

    monkeypatch.setattr("minichar.web.worker.HEARTBEAT_INTERVAL", 0.2)
    monkeypatch.setattr("minichar.web.worker.READ_TIMEOUT", 0.2)
    with worker_in_thread(redis_url, model) as one:
        yield one
