"""The server's side of the protocol between servers and workers: a queue of jobs."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator

from minichar.web.models import ModelInfo
from minichar.web.request import Request, UnknownModel
from minichar.web.update import Unavailable, Update


class JobQueue(ABC):
    """Interface for queues that accept requests and stream the generated text."""

    @abstractmethod
    async def start(self) -> None:
        """Start background tasks in the running event loop."""

    @abstractmethod
    async def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""

    @abstractmethod
    async def submit(self, request: Request) -> str:
        """Queue a request and return the id of its job.

        Raises
        ------
        BadRequest
            If the requested model does not exist, or a character is not in the model's vocabulary.
        Busy
            If the queue is full.
        """

    @abstractmethod
    async def request(self, job_id: str) -> Request:
        """Return the request that started a job.

        Raises
        ------
        KeyError
            If there is no such job.
        """

    @abstractmethod
    def follow(self, job_id: str, after: int) -> AsyncGenerator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""

    @abstractmethod
    async def leave(self, job_id: str) -> None:
        """Record that a client has stopped reading a job's text.

        A job without readers is cancelled after a few seconds.
        """

    @abstractmethod
    async def position(self, job_id: str) -> int | None:
        """Return the position of a waiting job in its model's queue, counting from 1.

        Return None if the job is not waiting.

        Raises
        ------
        Unavailable
            If there is no worker for the requested model.
        """

    @abstractmethod
    async def cancel(self, job_id: str) -> bool:
        """Cancel a job; do nothing if the id is unknown.

        Return True only if the job has ended and therefore no longer occupies a worker.
        """

    @abstractmethod
    async def check(self) -> None:
        """Check whether a new request for the default model would be accepted.

        Raises
        ------
        Busy
            If it would be rejected.
        """

    @abstractmethod
    async def job_counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs in each state."""

    @property
    def broken(self) -> bool:
        """Whether the server can no longer work and must be restarted."""
        return False

    @abstractmethod
    async def close(self) -> None:
        """End all readers and release all resources."""

    async def resolve(self, request: Request) -> tuple[Request, ModelInfo]:
        """Return the request with its model name filled in, and the model's description."""
        models = await self.models()
        if not models:
            raise Unavailable("no worker is available: try again later")
        wanted = request.model or models[0].name
        for model in models:
            if model.name == wanted:
                return request.with_model(wanted), model
        raise UnknownModel(
            f"no model named {wanted!r}: see /api/models for the available models", field="model"
        )
