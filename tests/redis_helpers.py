"""Helpers for tests of servers and workers that share a Redis server."""

import threading
from contextlib import contextmanager

from web_helpers import MEMORY, TIMEOUT

from minichar.web.redis_link import RedisLink
from minichar.web.redis_queue import RedisQueue
from minichar.web.request import Request
from minichar.web.store import dump, key, parse
from minichar.web.worker import Worker

DEFAULTS = {"model": "toy", "seed": 5}


def redis_queue(url):
    """Return a job queue in Redis, with room for one waiting job."""
    return RedisQueue(url, 1, MEMORY)


@contextmanager
def worker_in_thread(url, model, columns=2, pace=1000.0):
    """Run a worker in a thread of this process."""
    one, ready = Worker(RedisLink(url), {"toy": model}, columns, pace), threading.Event()
    thread = threading.Thread(target=one.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(TIMEOUT)
        yield one
    finally:
        one.stopping.set()
        thread.join(20)
        assert not thread.is_alive()


def text_of(queue, job_id, after=0):
    """Read a job to its end, and return its text and the reason for its end."""
    updates = [update for update in queue.follow(job_id, after) if update]
    return "".join(update.text for update in updates), updates[-1].reason


def put(db, job_id, *updates, seen=True, queued=False, **fields):
    """Store a job in Redis, with the text that workers have published. Queue it if `queued`."""
    db.set(key("request", job_id), Request.from_json(DEFAULTS | fields).dump(), px=60_000)
    if seen:
        db.set(key("seen", job_id), "", px=60_000)
    for update in updates:
        db.xadd(key("text", job_id), dump(update))
    if queued:
        db.xadd(key("jobs", "toy"), {"job": job_id})


def published(db, job_id):
    """Return all updates of a job."""
    return [parse(fields) for _, fields in db.xrange(key("text", job_id))]
