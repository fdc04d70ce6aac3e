"""Deliver published text from Redis to all readers in one process, over a single connection."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue

import redis

from minichar.web.job import ABANDONED_AFTER, READ_TIMEOUT
from minichar.web.store import Entry, Store

INTERVAL = 0.02
"""Seconds between reads. Each read returns new text of all jobs."""
MOST = 25
"""Maximum number of stream entries that wait for a reader. With alternatives, an entry may take up 6 KB."""


@dataclass(eq=False)
class Inbox:
    """Stream entries of a job that one reader has not taken yet.

    Attributes
    ----------
    job_id : str
    batches : SimpleQueue
        Lists of stream entries. None means that entries can no longer be read: Redis cannot be reached, or
        the thread has stopped.
    position : str
        Id of the last entry in any batch.
    """

    job_id: str
    batches: "SimpleQueue[list[Entry] | None]" = field(default_factory=SimpleQueue)
    position: str = "0"


class Subscriber:
    """Thread that reads the text of every job that has a reader in this process.

    The number of connections to Redis therefore does not depend on the number of readers. A reader gets its
    next batch of entries when it has taken the previous one, so that slow readers do not fill the memory.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._inboxes: dict[str, list[Inbox]] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)
        self._thread.start()

    @contextmanager
    def reader(self, job_id: str) -> Iterator["SimpleQueue[list[Entry] | None]"]:
        """Subscribe to a job, and yield the reader's `Inbox.batches`."""
        inbox = Inbox(job_id)
        with self._changed:
            self._inboxes.setdefault(job_id, []).append(inbox)
            if self._closing:
                inbox.batches.put(None)
            self._changed.notify()
        try:
            yield inbox.batches
        finally:
            with self._changed:
                self._inboxes[job_id].remove(inbox)
                if not self._inboxes[job_id]:
                    del self._inboxes[job_id]

    def has_reader(self, job_id: str) -> bool:
        """Return whether a job has a reader in this process."""
        with self._changed:
            return job_id in self._inboxes

    def close(self) -> None:
        """Stop the thread and all readers."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._end_readers()

    def _run(self) -> None:
        recorded: dict[str, float] = {}
        while inboxes := self._wait():
            try:
                now = time.monotonic()
                recorded = {job_id: recorded[job_id] for job_id in inboxes if job_id in recorded}
                due = [i for i in inboxes if now - recorded.get(i, -now) > ABANDONED_AFTER / 4]
                self._store.keep_reading(due)
                recorded |= dict.fromkeys(due, now)
                self._deliver(inboxes)
            except redis.RedisError:
                self._end_readers()
            except Exception:
                logging.exception("unexpected error while reading from Redis")
                self._end_readers()
                time.sleep(READ_TIMEOUT)  # instead of logging the error 50 times per second
            time.sleep(INTERVAL)

    def _end_readers(self) -> None:
        with self._changed:
            for inbox in (inbox for inboxes in self._inboxes.values() for inbox in inboxes):
                inbox.batches.put(None)

    def _wait(self) -> dict[str, list[Inbox]]:
        """Wait until there are jobs, and return their inboxes; return an empty dict once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._inboxes or self._closing)
            return {} if self._closing else {job_id: list(found) for job_id, found in self._inboxes.items()}

    def _deliver(self, inboxes: dict[str, list[Inbox]]) -> None:
        """Fill the empty inboxes."""
        empty = {i: [inbox for inbox in found if inbox.batches.empty()] for i, found in inboxes.items()}
        positions = {
            i: min((inbox.position for inbox in found), key=number) for i, found in empty.items() if found
        }
        if not positions:
            return
        for job_id, entries in self._store.read(positions, wait=INTERVAL, most=MOST):
            for inbox in empty[job_id]:
                if new := [entry for entry in entries if number(entry[0]) > number(inbox.position)]:
                    inbox.position = new[-1][0]
                    inbox.batches.put(new)


def number(entry: str) -> tuple[int, ...]:
    """Convert the id of a stream entry to a tuple that can be compared."""
    return tuple(map(int, entry.split("-")))
