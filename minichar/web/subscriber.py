"""Deliver published text from Redis to all readers in one process."""

import logging
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import redis

from minichar.web.job import ABANDONED_AFTER, READ_TIMEOUT
from minichar.web.store import Entry, Store

INTERVAL = 0.02
"""Seconds between reads. Each read returns the new text of all jobs with waiting readers."""
MOST, MOST_PLAIN = 20, 500
"""Maximum number of entries in a batch for jobs with and without alternatives. An entry takes up about 6 KB
with alternatives and about 0.2 KB without."""


@dataclass(eq=False)
class Inbox:
    """New stream entries for a reader that has read all older entries.

    Attributes
    ----------
    position : str or None
        The id of the last entry that the reader received before it started to wait; None if newer entries
        have been delivered since.
    batches : SimpleQueue
        Lists of new entries. A None in the queue means that entries can no longer be read, because Redis
        cannot be reached or the thread has stopped.
    """

    position: str | None = None
    batches: "SimpleQueue[list[Entry] | None]" = field(default_factory=SimpleQueue)

    def wait(self, position: str) -> list[Entry] | None:
        """Wait up to `READ_TIMEOUT` seconds for entries after `position`."""
        end = time.monotonic() + READ_TIMEOUT
        while (left := end - time.monotonic()) > 0:
            if self.batches.empty():
                self.position = position
            try:
                entries = self.batches.get(timeout=left)
            except Empty:
                break
            if entries is None:
                return None
            # Skip entries that this reader already has: they were delivered just as an earlier wait timed
            # out, or because another reader of the job is further behind.
            if new := [entry for entry in entries if number(entry[0]) > number(position)]:
                return new
        return []


class Subscriber:
    """Thread that delivers the new text of every job that has a reader in this process.

    Readers that are waiting for new text do not need a Redis connection. A reader that joins late, or falls
    behind because its client is slow, reads the older entries directly from Redis, a few at a time.

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

    def follow(self, job_id: str, most: int) -> Generator[list[Entry], None, None]:
        """Yield all stream entries of a job, in batches of at most `most`.

        A batch is empty if no new entry arrives within `READ_TIMEOUT` seconds. The iterator ends when
        entries can no longer be read.
        """
        inbox, position, behind = Inbox(), "0", True
        with self._changed:
            self._inboxes.setdefault(job_id, []).append(inbox)
            self._changed.notify()
        try:
            while not self._closing:
                batch = self._store.entries(job_id, position, most) if behind else inbox.wait(position)
                if batch is None:
                    return
                if batch or not behind:
                    yield batch
                behind = len(batch) >= min(MOST, most)
                position = batch[-1][0] if batch else position
        except redis.RedisError:
            return
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
                time.sleep(READ_TIMEOUT)  # avoid logging the error 50 times per second
            time.sleep(INTERVAL)

    def _end_readers(self) -> None:
        with self._changed:
            for inbox in (inbox for inboxes in self._inboxes.values() for inbox in inboxes):
                # Readers that are not waiting get the error when they read from Redis themselves.
                if inbox.position is not None or self._closing:
                    inbox.batches.put(None)

    def _wait(self) -> dict[str, list[Inbox]]:
        """Wait for jobs with readers and return their inboxes, or return an empty dict after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._inboxes or self._closing)
            return {} if self._closing else {job_id: list(found) for job_id, found in self._inboxes.items()}

    def _deliver(self, inboxes: dict[str, list[Inbox]]) -> None:
        """Read the new entries of all jobs with waiting readers."""
        waiting, positions = dict[str, list[Inbox]](), dict[str, str]()
        for job_id, found in inboxes.items():
            if known := [(position, inbox) for inbox in found if (position := inbox.position)]:
                positions[job_id] = min((position for position, _ in known), key=number)
                waiting[job_id] = [inbox for _, inbox in known]
        if not positions:
            return
        for job_id, entries in self._store.read(positions, wait=INTERVAL, most=MOST):
            for inbox in waiting[job_id]:
                inbox.position = None
                inbox.batches.put(entries)


def number(entry: str) -> tuple[int, ...]:
    """Convert the id of a stream entry to a tuple, so that ids can be compared."""
    return tuple(map(int, entry.split("-")))
