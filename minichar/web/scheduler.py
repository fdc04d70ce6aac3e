"""Run all jobs for a model in one thread, as columns of one batch."""

import logging
import threading
import time
from collections import deque

import numpy as np
from threadpoolctl import threadpool_limits

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.streams import Stream, Streams
from minichar.text.vocabulary import code_points
from minichar.web.details import pack
from minichar.web.job import BLANK, MAX_UPDATES, PUBLISH_INTERVAL, READ_TIMEOUT, Busy, Job
from minichar.web.snapshots import INTERVAL, Snapshots

RETRY_DELAY = 0.1
"""Seconds to wait after an unexpected error, which may occur again at once."""


class Scheduler:
    """Scheduler that runs the jobs for one model in a background thread.

    Parameters
    ----------
    model : CharRNN
    columns : int
        Maximum number of jobs that run concurrently.
    queue : int
        Maximum number of waiting jobs.
    pace : float
        Maximum generation speed of each job, in characters per second; 0 for no limit. Prompts are
        processed and known text is regenerated at full speed.
    snapshots : Snapshots
        The store of snapshots from which jobs resume.

    Attributes
    ----------
    running : dict of Stream to Job
    waiting : deque of Job
    """

    def __init__(self, model: CharRNN, columns: int, queue: int, pace: float, snapshots: Snapshots) -> None:
        self.model, self.columns, self.capacity = model, columns, columns + queue
        self.interval = 1 / pace if pace else 0.0
        vocabulary = model.vocabulary
        self.points = code_points(vocabulary.characters + "\ufffd" * vocabulary.unknown)  # (V,)
        self.snapshots = snapshots
        self.running: dict[Stream, Job] = {}
        self.waiting: deque[Job] = deque()
        self.closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job, unless a stop string occurs in the text that its readers already have.

        Raises
        ------
        Busy
            If the queue is full or the scheduler is closed.
        """
        self._check_capacity()  # before doing any work
        self.snapshots.resume(job)
        if job.reason is not None:
            return
        with self._changed:
            self._check_capacity()  # other jobs may have been submitted in the meantime
            self.waiting.append(job)
            self._changed.notify()

    def _check_capacity(self) -> None:
        if self.closing or len(self.running) + len(self.waiting) >= self.capacity:
            raise Busy("too many requests are in progress: try again later")

    def close(self) -> None:
        """End all jobs and stop the scheduler's thread."""
        with self._changed:
            self.closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        # Use one BLAS thread: on busy cores, BLAS threads spend milliseconds waiting for each other.
        with threadpool_limits(1, "blas"):
            while not self.closing:
                try:
                    self._generate()
                except MinicharError as error:
                    self._finish_all("error", str(error))
                except Exception:  # a request that triggers a bug must not stop the server
                    logging.exception("generation failed")
                    self._finish_all("error", "internal error: see the server log")
                    time.sleep(RETRY_DELAY)
            self._finish_all("closing")

    def _finish_all(self, reason: str, error: str = "") -> None:
        with self._changed:
            jobs = [*self.running.values(), *self.waiting]
            self.running.clear()
            self.waiting.clear()
        for job in jobs:
            job.finish(reason, error)

    def _generate(self) -> None:
        """Generate text for all jobs until the scheduler is closed."""
        streams = Streams(self.model.exact())
        published = due = time.monotonic()
        while self._admit(streams):
            generating, ids, scores = streams.step()
            catching_up = len(generating) < len(streams.streams)  # reading a prompt
            catching_up |= self._dispatch(streams, generating, ids, scores)
            now = time.monotonic()
            if now - published >= max(PUBLISH_INTERVAL, len(self.running) / MAX_UPDATES):
                # Cap the elapsed time so that no job is cancelled as abandoned because the machine was
                # suspended.
                self._publish(streams, min(now - published, READ_TIMEOUT))
                published = now
            # Sleep less to make up for slow steps, up to a limit. Do not sleep longer to make up for fast
            # steps, such as those that process a prompt.
            due = min(max(due, now - PUBLISH_INTERVAL), now) + self.interval
            if streams.streams and not catching_up and due > now:
                time.sleep(due - now)

    def _admit(self, streams: Streams) -> bool:
        """Assign waiting jobs to free columns; block while there are no jobs. Return False once closed."""
        with self._changed:
            while not self.closing:
                while self.waiting and len(self.running) < self.columns:
                    job = self.waiting.popleft()
                    self.running[job.stream] = job
                    streams.join(job.stream, job.state)
                    job.state = None  # no longer needed
                if self.running:
                    return True
                self._changed.wait()
            return False

    def _dispatch(
        self, streams: Streams, generating: list[Stream], ids: np.ndarray, scores: np.ndarray
    ) -> bool:
        """Append each generated character to its job and remove completed jobs.

        Returns
        -------
        bool
            Whether any job is still regenerating text that its readers already have.
        """
        characters = self.model.vocabulary.characters
        details = self._details(generating, ids, scores)
        catching_up = False
        for j, (stream, k) in enumerate(zip(generating, ids.tolist(), strict=True)):
            job = self.running[stream]
            complete = job.append(characters[k], details.get(j, BLANK))
            if stream.length % INTERVAL == 0 and not job.stopped and job.reason is None:
                self.snapshots.add(job, streams.state(stream))
            if complete or not job.text or stream.length == job.known + 1:
                job.publish()
            if complete:
                self._remove(streams, stream)
            elif 0 < stream.length <= job.known:
                catching_up = True
        return catching_up

    def _details(self, generating: list[Stream], ids: np.ndarray, scores: np.ndarray) -> dict[int, bytes]:
        """Return a packed `Detail` for each job whose readers need one.

        The dict is keyed by column of `scores` ``(V, n)``.
        """
        wanted = [
            j
            for j, stream in enumerate(generating)
            if (job := self.running[stream]).request.alternatives and stream.length > job.known
        ]
        if not wanted:
            return {}
        return dict(
            zip(wanted, pack(probabilities(scores[:, wanted]), ids[wanted], self.points), strict=True)
        )

    def _publish(self, streams: Streams, elapsed: float) -> None:
        """Publish new text and remove finished jobs. `elapsed` is the capped time since the last call."""
        for stream, job in list(self.running.items()):
            job.publish()
            job.cancel_if_abandoned(elapsed)
            if job.reason is not None:
                self._remove(streams, stream)
        with self._changed:
            for job in list(self.waiting):
                job.cancel_if_abandoned(elapsed)
                if job.reason is not None:
                    self.waiting.remove(job)

    def _remove(self, streams: Streams, stream: Stream) -> None:
        streams.leave(stream)
        with self._changed:
            del self.running[stream]


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return the softmax over each column of `scores`, ``(V, n)``, at temperature 1."""
    p = np.exp(scores - scores.max(axis=0))  # (V, n)
    return p / p.sum(axis=0)
