"""The job-queue interface used by the HTTP server, and an in-process implementation."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator

from minichar.model import CharRNN
from minichar.web.details import Details
from minichar.web.job import Busy, Job, Update
from minichar.web.jobs import Jobs
from minichar.web.models import ModelInfo, describe
from minichar.web.request import Request, UnknownModel
from minichar.web.scheduler import Scheduler
from minichar.web.snapshots import LocalSnapshots

MEMORY = 64 * 2**20
"""Default memory budget for texts, in bytes."""


class Unavailable(Busy):
    """Raised when no worker is available or Redis cannot be reached."""

    code = "unavailable"


class JobQueue(ABC):
    """Interface for queues that accept requests and stream the generated text."""

    @abstractmethod
    def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""

    @abstractmethod
    def submit(self, request: Request) -> str:
        """Queue a request and return the id of its job.

        Raises
        ------
        BadRequest
            If the requested model does not exist, or a character is not in the model's vocabulary.
        Busy
            If the queue is full.
        """

    @abstractmethod
    def request(self, job_id: str) -> Request:
        """Return the request that started a job.

        Raises
        ------
        KeyError
            If there is no such job.
        """

    @abstractmethod
    def follow(self, job_id: str, after: int) -> Iterator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""

    @abstractmethod
    def leave(self, job_id: str) -> None:
        """Record that a client has stopped reading a job's text.

        A job without readers is cancelled after a few seconds.
        """

    @abstractmethod
    def position(self, job_id: str) -> int | None:
        """Return the position of a waiting job in its model's queue, counting from 1.

        Return None if the job is not waiting.

        Raises
        ------
        Unavailable
            If there is no worker for the requested model.
        """

    @abstractmethod
    def cancel(self, job_id: str) -> bool:
        """Cancel a job; do nothing if the id is unknown.

        Return True only if the job has ended and therefore no longer occupies a worker.
        """

    @abstractmethod
    def job_counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs in each state."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources."""

    def resolve(self, request: Request) -> tuple[Request, ModelInfo]:
        """Return the request with its model name filled in, and the model's description."""
        models = self.models()
        if not models:
            raise Unavailable("no worker is available: try again later")
        wanted = request.model or models[0].name
        for model in models:
            if model.name == wanted:
                return request.with_model(wanted), model
        raise UnknownModel(
            f"no model named {wanted!r}: see /api/models for the available models", field="model"
        )


class LocalQueue(JobQueue):
    """Queue that runs jobs in threads of this process.

    Parameters
    ----------
    models : dict of str to CharRNN
    columns, queue, pace
        Arguments for the `Scheduler` of each model.
    memory : int
        Memory budget for texts, in bytes.
    """

    def __init__(
        self, models: dict[str, CharRNN], columns: int, queue: int, pace: float, memory: int = MEMORY
    ) -> None:
        self._models, self._options = models, (columns, queue, pace)
        self._infos = [describe(name, model) for name, model in models.items()]
        self._schedulers: dict[str, Scheduler] = {}
        self._jobs = Jobs(memory)
        self._lock = threading.Lock()

    def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""
        return self._infos

    def submit(self, request: Request) -> str:
        """Queue a request and return the id of its job."""
        request, model = self.resolve(request)
        job = Job(request, request.stream(model.vocabulary, model.reset_on))
        with self._lock:
            if model.name not in self._schedulers:
                self._schedulers[model.name] = Scheduler(
                    self._models[model.name], *self._options, LocalSnapshots()
                )
            scheduler = self._schedulers[model.name]
        job_id = self._jobs.add(job)
        try:
            scheduler.submit(job)
        except BaseException:
            self._jobs.remove(job_id)
            raise
        return job_id

    def request(self, job_id: str) -> Request:
        """Return the request that started a job."""
        return self._jobs[job_id].request

    def follow(self, job_id: str, after: int) -> Iterator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""
        if (job := self._jobs.get(job_id)) is None:  # the job was removed after the call to `request`
            return iter([Update("", Details(), after, "closing")])
        return job.follow(after)

    def leave(self, job_id: str) -> None:
        """Do nothing, because the scheduler itself detects and cancels jobs without readers."""

    def position(self, job_id: str) -> int | None:
        """Return the position of a waiting job in its model's queue, or None if it is not waiting."""
        job = self._jobs.get(job_id)
        waiting = [list(scheduler.waiting) for scheduler in list(self._schedulers.values())]
        return next((jobs.index(job) + 1 for jobs in waiting if job in jobs), None)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job. Return False if there is no such job."""
        if job := self._jobs.get(job_id):
            job.finish("cancelled")
        return job is not None

    def job_counts(self) -> dict[str, int]:
        """Return the number of running and waiting jobs."""
        schedulers = list(self._schedulers.values())
        return {
            "running": sum(len(scheduler.running) for scheduler in schedulers),
            "waiting": sum(len(scheduler.waiting) for scheduler in schedulers),
        }

    def close(self) -> None:
        """Stop all schedulers and end their jobs."""
        with self._lock:
            schedulers = list(self._schedulers.values())
        for scheduler in schedulers:
            scheduler.close()
        self._jobs.close()
