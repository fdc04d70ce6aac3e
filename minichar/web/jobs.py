"""The jobs of one process, kept within a memory budget."""

import secrets
import threading
import time

from minichar.web.details import SIZE
from minichar.web.job import Busy, Job
from minichar.web.memory import return_memory
from minichar.web.request import Request

KEEP = 600.0
"""Number of seconds that a finished job is kept after it was last read or updated."""
KEEP_ALTERNATIVES = 30.0
"""Like `KEEP`, but for jobs with alternatives, whose texts take up 20 times as much memory."""
EXPIRE_INTERVAL = 5.0
"""Seconds between searches for expired jobs."""
OVERHEAD = 8192
"""Approximate memory use of a job, excluding its text, in bytes."""


def keep(request: Request) -> float:
    """Return how many seconds a finished job is kept after it was last read."""
    return KEEP_ALTERNATIVES if request.alternatives else KEEP


def cost(request: Request, length: int) -> int:
    """Return the approximate memory use of a job with `length` characters, in bytes."""
    text = length * (4 + SIZE * request.alternatives)
    return OVERHEAD + text + 10 * len(request.prime) + 130 * len(request.branches)


class Jobs:
    """Unfinished and recently finished jobs, keyed by id.

    Parameters
    ----------
    memory : int
        Memory budget in bytes. An unfinished job reserves enough memory for its complete text.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._expire_regularly, name="expiry", daemon=True).start()

    def __getitem__(self, job_id: str) -> Job:
        return self._jobs[job_id]

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None if there is no such job."""
        return self._jobs.get(job_id)

    def add(self, job: Job) -> str:
        """Add a job and return its id. Finished jobs are removed if their memory is needed.

        Jobs without a reader are removed first, starting with the least recently read.

        Raises
        ------
        Busy
            If the new job would exceed the memory budget even after all removable jobs are removed.
        """
        job_id = secrets.token_urlsafe(12)
        with self._lock:
            self._expire()
            sizes = {i: size(other) for i, other in self._jobs.items()}
            excess = sum(sizes.values()) + size(job) - self.memory
            removable = [i for i, other in self._jobs.items() if other.is_removable]
            chosen = []
            for oldest in sorted(
                removable, key=lambda i: (self._jobs[i].readers > 0, self._jobs[i].last_read)
            ):
                if excess <= 0:
                    break
                excess -= sizes[oldest]
                chosen.append(oldest)
            if excess > 0:
                raise Busy("too many long texts are in progress: try again later")
            for oldest in chosen:
                self._jobs.pop(oldest).discard()
            self._jobs[job_id] = job
        return job_id

    def remove(self, job_id: str) -> None:
        """Remove a job that has not been started."""
        with self._lock:
            del self._jobs[job_id]

    def close(self) -> None:
        """Stop searching for expired jobs."""
        self._closed.set()

    def _expire_regularly(self) -> None:
        while not self._closed.wait(EXPIRE_INTERVAL):
            with self._lock:
                expired = self._expire()
            if expired:
                return_memory()

    def _expire(self) -> bool:
        """Remove expired jobs and return whether there were any."""
        now, before = time.monotonic(), len(self._jobs)
        for job_id, job in list(self._jobs.items()):
            if job.reason is not None and now - job.last_read > keep(job.request):
                self._jobs.pop(job_id).discard()
        return len(self._jobs) < before


def size(job: Job) -> int:
    """Return the approximate memory use of a job, in bytes."""
    return cost(job.request, job.request.length if job.reason is None else len(job.text))
