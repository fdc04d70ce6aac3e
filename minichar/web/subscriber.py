"""Deliver published text from Redis to all readers in one process, over a single connection."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import redis

from minichar.web.job import ABANDONED_AFTER, READ_TIMEOUT
from minichar.web.store import Entry, Store

INTERVAL = 0.02
"""Seconds between reads. Each read returns the new text of all jobs."""


class Subscriber:
    """Thread that reads the text of every job that has a reader in this process.

    The number of connections to Redis therefore does not depend on the number of readers.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readers: dict[str, list[SimpleQueue[list[Entry] | None]]] = {}
        self._positions: dict[str, str] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="subscriber", daemon=True)
        self._thread.start()

    @contextmanager
    def reader(self, job_id: str) -> Iterator["SimpleQueue[list[Entry] | None]"]:
        """Subscribe to a job.

        Yields
        ------
        SimpleQueue
            Lists of stream entries of the job. If the job has several readers, entries may be repeated.
            None means that entries can no longer be read: Redis cannot be reached, or the thread has stopped.
        """
        inbox: SimpleQueue[list[Entry] | None] = SimpleQueue()
        with self._changed:
            self._readers.setdefault(job_id, []).append(inbox)
            self._positions[job_id] = "0"
            if self._closing:
                inbox.put(None)
            self._changed.notify()
        try:
            yield inbox
        finally:
            with self._changed:
                self._readers[job_id].remove(inbox)
                if not self._readers[job_id]:
                    del self._readers[job_id], self._positions[job_id]

    def has_reader(self, job_id: str) -> bool:
        """Return whether a job has a reader in this process."""
        with self._changed:
            return job_id in self._readers

    def close(self) -> None:
        """Stop the thread and all readers."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._end_readers()

    def _run(self) -> None:
        recorded: dict[str, float] = {}
        while positions := self._wait():
            try:
                now = time.monotonic()
                recorded = {job_id: recorded[job_id] for job_id in positions if job_id in recorded}
                due = [i for i in positions if now - recorded.get(i, -now) > ABANDONED_AFTER / 4]
                self._store.keep_reading(due)
                recorded |= dict.fromkeys(due, now)
                self._deliver(positions)
            except redis.RedisError:
                self._end_readers()
            except Exception:
                logging.exception("unexpected error while reading from Redis")
                self._end_readers()
                time.sleep(READ_TIMEOUT)  # instead of logging the error 50 times per second
            time.sleep(INTERVAL)

    def _end_readers(self) -> None:
        with self._changed:
            for inbox in (inbox for inboxes in self._readers.values() for inbox in inboxes):
                inbox.put(None)

    def _wait(self) -> dict[str, str]:
        """Wait until there are jobs, and return their positions; return an empty dict once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._positions or self._closing)
            return {} if self._closing else dict(self._positions)

    def _deliver(self, positions: dict[str, str]) -> None:
        for job_id, entries in self._store.read(positions, wait=INTERVAL):
            with self._changed:
                if self._positions.get(job_id) == positions[job_id]:  # not reset by a new reader
                    self._positions[job_id] = entries[-1][0]
                for inbox in self._readers.get(job_id, ()):
                    inbox.put(entries)
