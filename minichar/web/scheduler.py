"""Run all jobs for a model in one thread, as columns of two batches.

Jobs generate text at a steady pace in one batch. A job that is still reading its prompt or generating text
that its readers already have runs in the other batch, as fast as possible. The other batch uses the time left
over by the first, and at least `SHARE` of the time that the first takes. Jobs that are catching up therefore
neither speed up nor delay the others.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.streams import Stream, Streams
from minichar.text.vocabulary import code_points
from minichar.web.details import pack
from minichar.web.job import MAX_UPDATES, PUBLISH_INTERVAL, Job
from minichar.web.texts import return_memory

RETRY_DELAY = 0.1
"""Seconds to wait after an unexpected error, which may occur again at once."""
SHARE = 0.25
"""Time for jobs that are catching up, relative to that for the others, if both could use the whole core."""


class Scheduler:
    """Scheduler that runs the jobs for one model in a background thread.

    Each job generates at most `pace` characters per second (0: no limit). Prompts and known
    text are processed at full speed. `on_news` is called in the thread when jobs have news.
    """

    def __init__(self, model: CharRNN, pace: float, on_news: Callable[[], None]) -> None:
        self.model, self.interval, self._on_news = model, 1 / pace if pace else 0.0, on_news
        vocabulary = model.vocabulary
        self.points = code_points(vocabulary.characters + "\ufffd" * vocabulary.unknown)  # (V,)
        self._jobs: dict[Stream, Job] = {}
        self._new: deque[Job] = deque()
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Start a job. It joins its batch at the next step."""
        with self._changed:
            self._new.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Stop the scheduler's thread and end all jobs."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        # Use one BLAS thread: on busy cores, BLAS threads spend milliseconds waiting for each other.
        with threadpool_limits(1, "blas"):
            while not self._closing:
                try:
                    self._generate()
                except MinicharError as error:
                    self._finish_all("error", str(error))
                except Exception:  # a request that triggers a bug must not stop the worker
                    logging.exception("generation failed")
                    self._finish_all("error", "internal error: see the server log")
                    time.sleep(RETRY_DELAY)
            self._finish_all("closing")

    def _finish_all(self, reason: str, error: str = "") -> None:
        with self._changed:
            jobs = [*self._jobs.values(), *self._new]
            self._jobs.clear()
            self._new.clear()
        for job in jobs:
            job.finish(reason, error)
        self._on_news()

    def _generate(self) -> None:
        """Generate text for all jobs until the scheduler is closed."""
        model = self.model.exact()
        paced, catching_up = Streams(model), Streams(model)
        published = due = now = time.monotonic()
        credit = 0.0  # seconds that `catching_up` may use although `paced` is due
        while True:
            idle = not paced.streams
            if not self._admit(paced, catching_up):
                return
            if idle:
                due = now = time.monotonic()
            spare = due > now or not paced.streams
            if catching_up.streams and (spare or credit > 0):
                self._step(catching_up)
                for stream in catching_up.streams.copy():
                    if not self._jobs[stream].catching_up:
                        catching_up.move(stream, paced)
                before, now = now, time.monotonic()
                credit -= 0.0 if spare else now - before
            elif due > now:
                with self._changed:
                    if not self._new:
                        self._changed.wait(due - now)
                now = time.monotonic()
            else:
                self._step(paced)
                before, now = now, time.monotonic()
                credit = credit + SHARE * (now - before) if catching_up.streams else 0.0
                # Make up for slow steps, up to a limit.
                due = max(due, now - PUBLISH_INTERVAL) + self.interval
            if now - published >= max(PUBLISH_INTERVAL, len(self._jobs) / MAX_UPDATES):
                published = now
                for batch in (paced, catching_up):
                    for stream in batch.streams.copy():
                        self._publish(batch, stream)
                self._on_news()

    def _admit(self, paced: Streams, catching_up: Streams) -> bool:
        """Add new jobs to the batches; block while there are no jobs. Return False once closed."""
        with self._changed:
            while not self._closing:
                while self._new:
                    job = self._new.popleft()
                    self._jobs[job.stream] = job
                    (catching_up if job.catching_up else paced).join(job.stream)
                if self._jobs:
                    return True
                return_memory()
                self._changed.wait()
            return False

    def _step(self, batch: Streams) -> None:
        """Generate a character for each job in a batch, and remove completed jobs."""
        generating, ids, scores = batch.step()
        characters, news = self.model.vocabulary.characters, False
        details = self._details(generating, ids, scores)
        for j, (stream, k) in enumerate(zip(generating, ids.tolist(), strict=True)):
            job = self._jobs[stream]
            complete = job.append(characters[k], details.get(j, b""))
            if complete or stream.length == job.known + 1:
                news |= self._publish(batch, stream)
        if news:
            self._on_news()

    def _publish(self, batch: Streams, stream: Stream) -> bool:
        """Publish a job's text, remove the job if it has ended, and return whether there is any news."""
        job = self._jobs[stream]
        news = job.publish()
        if job.reason is not None:
            batch.leave(stream)
            del self._jobs[stream]
        return news

    def _details(self, generating: list[Stream], ids: np.ndarray, scores: np.ndarray) -> dict[int, bytes]:
        """Return a packed `Detail` for each job whose readers need one.

        The dict is keyed by column of `scores` ``(V, n)``.
        """
        wanted = [j for j, stream in enumerate(generating) if self._jobs[stream].wants_details]
        if not wanted:
            return {}
        return dict(
            zip(wanted, pack(probabilities(scores[:, wanted]), ids[wanted], self.points), strict=True)
        )


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Return the softmax over each column of `scores`, ``(V, n)``, at temperature 1."""
    p = np.exp(scores - scores.max(axis=0))  # (V, n)
    return p / p.sum(axis=0)
