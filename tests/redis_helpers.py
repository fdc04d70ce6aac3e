"""Helpers for tests of servers and workers that share a Redis server."""

import threading
from contextlib import contextmanager

from web_helpers import TIMEOUT

from minichar.web.worker import Worker


@contextmanager
def worker_in_thread(url, model, columns=2):
    """Run a worker in a thread of this process."""
    one, ready = Worker(url, {"toy": model}, columns, pace=3000.0), threading.Event()
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


def run(worker, job_id):
    """Run a job whose request is in Redis but which is not in the queue."""
    done = threading.Event()
    worker.start("toy", job_id, acknowledge=done.set)
    assert done.wait(TIMEOUT)
