"""A server's queue of jobs: their texts, and the workers that generate them."""

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing

from minichar.web.details import Details
from minichar.web.errors import Busy, Unavailable, UnknownModel
from minichar.web.models import ModelInfo
from minichar.web.request import Request
from minichar.web.texts import Text, Texts, return_memory
from minichar.web.update import READ_TIMEOUT, Update

MEMORY = 64 * 2**20
"""Default memory budget for texts, in bytes."""
CHECK_INTERVAL = 1.0
"""Seconds between searches for abandoned and expired texts."""


class Workers(ABC):
    """The server's side of the protocol between servers and workers.

    Workers are processes of the server (`minichar.web.processes`), or share Redis with it
    (`minichar.web.redis_workers`). All methods may raise `Unavailable`.
    """

    @abstractmethod
    async def start(self, texts: Texts) -> None:
        """Begin to add what workers generate to `texts`."""

    @abstractmethod
    async def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""

    @abstractmethod
    async def columns(self, model: str) -> int:
        """Return how many of a model's jobs can run concurrently."""

    @abstractmethod
    async def unfinished(self, model: str) -> int:
        """Return how many of a model's jobs are running or waiting."""

    @abstractmethod
    async def waiting(self, model: str) -> list[str]:
        """Return the jobs that wait for a worker, in order. Raise `Unavailable` if there is no worker."""

    @abstractmethod
    async def submit(self, job_id: str, text: Text) -> None:
        """Give a new job to the workers."""

    @abstractmethod
    async def find(self, job_id: str) -> Request:
        """Return the request of a job that another server has submitted, or raise a KeyError."""

    @abstractmethod
    async def cancel(self, job_id: str, text: Text) -> bool:
        """Cancel a job, and return whether it no longer occupies a worker."""

    @abstractmethod
    async def abandon(self, job_id: str, text: Text) -> None:
        """Cancel a job unless it has a reader on another server."""

    @abstractmethod
    async def counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs in each state."""

    @abstractmethod
    async def close(self) -> None:
        """Release all resources."""

    async def left(self, job_id: str) -> None:  # noqa: B027
        """Note that the last reader of a job's text on this server has left."""

    async def check(self) -> None:  # noqa: B027
        """Raise `Busy` if a new job could not be submitted, for a reason other than the number of jobs."""

    @property
    def broken(self) -> bool:
        """Whether the server can no longer work and must be restarted."""
        return False


class JobQueue:
    """Queue that accepts requests and streams the generated text.

    Parameters
    ----------
    workers : Workers
    queue : int
        Maximum number of waiting jobs per model.
    memory : int
        Memory budget for texts, in bytes.
    """

    def __init__(self, workers: Workers, queue: int, memory: int = MEMORY) -> None:
        self.workers, self.texts, self._queue = workers, Texts(memory), queue

    async def start(self) -> None:
        """Start background tasks in the running event loop."""
        self._checking = asyncio.create_task(self._check_regularly())
        await self.workers.start(self.texts)

    async def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""
        return await self.workers.models()

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

    async def submit(self, request: Request) -> str:
        """Queue a request and return the id of its job.

        Raises
        ------
        BadRequest
            If the requested model does not exist, or a character is not in the model's vocabulary.
        Busy
            If the queue is full.
        """
        request, model = await self.resolve(request)
        request.stream(model.vocabulary)  # rejects unknown characters before the job is queued
        await self._check_capacity(model.name)
        job_id, text = secrets.token_urlsafe(12), Text(request)
        self.texts.add(job_id, text)
        try:
            await self.workers.submit(job_id, text)
        except BaseException:
            self.texts.lose(job_id)
            raise
        return job_id

    async def check(self) -> None:
        """Raise `Busy` if a new request for the default model would be rejected."""
        _, model = await self.resolve(Request.from_json({}))
        await self._check_capacity(model.name)
        await self.workers.check()

    async def _check_capacity(self, model: str) -> None:
        if await self.workers.unfinished(model) >= await self.workers.columns(model) + self._queue:
            raise Busy("too many requests are in progress: try again later")

    async def _text(self, job_id: str) -> Text:
        """Return the text of a job, or raise a KeyError."""
        if self.texts.get(job_id) is None:
            request = await self.workers.find(job_id)
            if self.texts.get(job_id) is None:
                self.texts.add(job_id, Text(request))
        return self.texts[job_id]

    async def request(self, job_id: str) -> Request:
        """Return the request that started a job, or raise a KeyError if there is no such job."""
        return (await self._text(job_id)).request

    async def follow(self, job_id: str, after: int) -> AsyncGenerator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""
        try:
            text = await self._text(job_id)
        except (KeyError, Busy):  # the text was removed after the call to `request`
            yield Update("", Details(), after, "closing")
            return
        async with aclosing(text.follow(after)) as updates:
            async for update in updates:
                yield update

    async def leave(self, job_id: str) -> None:
        """Record that a client has stopped reading a job's text.

        A job without readers is cancelled after a few seconds.
        """
        if (text := self.texts.get(job_id)) is None or not text.readers:
            await self.workers.left(job_id)

    async def position(self, job_id: str) -> int | None:
        """Return the position of a waiting job in its model's queue, or None if the job is not waiting.

        Positions are counted from 1. If there is no worker for the model, raise `Unavailable`.
        """
        waiting = await self.workers.waiting((await self._text(job_id)).request.model)
        return waiting.index(job_id) + 1 if job_id in waiting else None

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job; do nothing if the id is unknown.

        Return True only if the job has ended and therefore no longer occupies a worker.
        """
        try:
            text = await self._text(job_id)
        except KeyError:
            return False
        return await self.workers.cancel(job_id, text)

    async def job_counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs in each state."""
        return await self.workers.counts()

    async def close(self) -> None:
        """End all readers and release all resources."""
        self._checking.cancel()
        await self.workers.close()
        for text in self.texts.in_progress().values():
            text.finish("closing")

    async def _check_regularly(self) -> None:
        """Cancel abandoned jobs and remove expired texts."""
        checked = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            # Cap the elapsed time so that no job is cancelled as abandoned because the machine was suspended.
            now = time.monotonic()
            for job_id, text in self.texts.abandoned(min(now - checked, READ_TIMEOUT)).items():
                await self.workers.abandon(job_id, text)
            checked = now
            if self.texts.expire():
                return_memory()
