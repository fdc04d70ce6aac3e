"""A server's queue of jobs: their texts, and the workers that generate them."""

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace

from minichar.errors import listed
from minichar.web.details import Details
from minichar.web.errors import Busy, NoSuchJob, Refused, Unavailable
from minichar.web.models import ModelInfo
from minichar.web.request import Request
from minichar.web.texts import Text, Texts, return_memory
from minichar.web.update import Update

CHECK_INTERVAL = 1.0
"""Seconds between searches for abandoned and expired texts."""
SHOWN = 3
"""Maximum number of models to suggest."""


class JobQueue(ABC):
    """Queue that accepts requests and streams the generated text.

    A subclass passes the jobs to workers, and adds what they generate to `texts`. Workers are processes of
    the server (`minichar.web.processes`), or share Redis with it (`minichar.web.redis_queue`). Without Redis
    or a worker, all methods may raise `Unavailable`. `queue` is the maximum number of waiting jobs per model,
    and `memory` the memory budget for texts, in bytes.
    """

    def __init__(self, queue: int, memory: int) -> None:
        self.texts, self._queue = Texts(memory), queue

    @abstractmethod
    async def models(self) -> list[ModelInfo]:
        """Return the available models, default first."""

    @abstractmethod
    async def job_counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs in each state."""

    @abstractmethod
    async def _columns(self, model: str) -> int:
        """Return how many of a model's jobs can run concurrently."""

    @abstractmethod
    async def _unfinished(self, model: str) -> int:
        """Return how many of a model's jobs are running or waiting."""

    @abstractmethod
    async def _waiting(self, model: str) -> list[str]:
        """Return the jobs waiting for a worker, in order. Raise `Unavailable` if there is no worker."""

    @abstractmethod
    async def _give(self, job_id: str, text: Text) -> None:
        """Give a new job to the workers."""

    @abstractmethod
    async def _find(self, job_id: str) -> Request:
        """Return the request of a job that another server has submitted, or raise `NoSuchJob`."""

    @abstractmethod
    async def _cancel(self, job_id: str, text: Text) -> None:
        """Cancel a job."""

    @abstractmethod
    async def _abandon(self, job_id: str, text: Text) -> None:
        """Cancel a job unless it has a reader on another server."""

    @property
    def broken(self) -> bool:
        """Whether the server can no longer work and must be restarted."""
        return False

    async def start(self) -> None:
        """Start background tasks in the running event loop."""
        self._checking = asyncio.create_task(self._check_regularly())

    async def model(self, name: str = "") -> ModelInfo:
        """Return the description of a model, or raise `Refused`. Without a name, it is the default model."""
        models = await self.models()
        if not models:
            raise Unavailable("no worker is available: try again later")
        for model in models:
            if name in ("", model.name):
                return model
        names = listed([model.name for model in models[:SHOWN]], len(models))
        message = f"no model named {name!r}: choose {names}"
        raise Refused(message, "model", 404, "model_not_found")

    async def submit(self, request: Request) -> str:
        """Queue a request and return the id of its job. Raise `Refused` if that is not possible."""
        model = await self.model(request.model)
        request = replace(request, model=model.name)
        request.stream(model.vocabulary)  # rejects unknown characters before the job is queued
        await self._check_capacity(model.name)
        job_id, text = secrets.token_urlsafe(12), Text(request)
        self.texts.add(job_id, text)
        try:
            await self._give(job_id, text)
        except BaseException:
            self.texts.lose(job_id)
            raise
        return job_id

    async def check(self) -> None:
        """Raise `Busy` if a new request for the default model would be rejected."""
        await self._check_capacity((await self.model()).name)
        self.texts.removable_for()

    async def _check_capacity(self, model: str) -> None:
        if await self._unfinished(model) >= await self._columns(model) + self._queue:
            raise Busy("too many requests are in progress: try again later")

    async def text(self, job_id: str) -> Text:
        """Return the text of a job, or raise `NoSuchJob`."""
        if self.texts.get(job_id) is None:
            request = await self._find(job_id)
            if self.texts.get(job_id) is None:
                self.texts.add(job_id, Text(request))
        return self.texts[job_id]

    async def follow(self, job_id: str, after: int) -> AsyncGenerator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""
        try:
            text = await self.text(job_id)
        except (NoSuchJob, Busy):  # the text was removed in the meantime
            yield Update("", Details(), after, "closing")
            return
        if text.reason is None:
            await self.join(job_id)
        async with aclosing(text.follow(after)) as updates:
            async for update in updates:
                yield update

    async def join(self, job_id: str) -> None:  # noqa: B027
        """Record that a client has started reading the text of a job in progress."""

    async def leave(self, job_id: str) -> None:  # noqa: B027
        """Record that a client has stopped reading a job's text. A job without readers is cancelled."""

    async def position(self, job_id: str) -> int | None:
        """Return the position, from 1, of a job in its model's queue, or None if the job is not waiting."""
        waiting = await self._waiting((await self.text(job_id)).request.model)
        return waiting.index(job_id) + 1 if job_id in waiting else None

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; do nothing if the id is unknown."""
        with suppress(NoSuchJob):
            await self._cancel(job_id, await self.text(job_id))

    async def close(self) -> None:
        """End all readers and release all resources."""
        self._checking.cancel()
        for text in self.texts.in_progress().values():
            text.finish("closing")

    async def _check_regularly(self) -> None:
        """Cancel abandoned jobs and remove expired texts."""
        checked = time.monotonic()
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            now = time.monotonic()
            # No client could read while the server was suspended.
            for text in self.texts.in_progress().values():
                text.last_used = min(now, text.last_used + now - checked - CHECK_INTERVAL)
            checked = now
            for job_id, text in self.texts.abandoned().items():
                await self._abandon(job_id, text)
            if self.texts.expire():
                return_memory()
