"""Messages between servers and workers, over Redis: the server's side."""

import asyncio
import json
import logging
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from minichar.web.details import Details
from minichar.web.errors import NoSuchJob, Unavailable
from minichar.web.models import ModelInfo
from minichar.web.queue import JobQueue
from minichar.web.request import Request
from minichar.web.store import (
    GROUP,
    UNSEEN_AFTER,
    WORKERS,
    dump,
    key,
    milliseconds,
    parse,
    pool,
    redis_errors,
)
from minichar.web.texts import KEEP, Text
from minichar.web.update import ABANDONED_AFTER, READ_TIMEOUT, Update

INTERVAL = 0.02
"""Minimum number of seconds between reads of the new text of all jobs."""
MOST = 20
"""Maximum number of entries of a job to read at once. With the default pace, one takes up to 6 KB."""


class RedisQueue(JobQueue):
    """Job queue whose workers share Redis with this server. Raise `MinicharError` if the URL is invalid."""

    def __init__(self, url: str, queue: int, memory: int) -> None:
        super().__init__(queue, memory)
        retry = Retry(ExponentialBackoff(cap=2, base=0.05), 1)
        connections = pool(redis.asyncio.BlockingConnectionPool, url, retry)
        self.client: Any = redis.asyncio.Redis.from_pool(connections)  # closes them
        self._queues: dict[str, tuple[float, dict[str, str]]] = {}  # by model: time read, and waiting jobs
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Start adding what workers publish to `texts`."""
        await super().start()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._keep_reading())]
        with suppress(Unavailable):  # the reason is logged
            await self.models()

    async def close(self) -> None:
        """End all readers. Jobs that have a reader on another server continue to run."""
        self._closing = True  # redis-py may turn the cancellation of a task into an error of its connection
        for task in self._tasks:
            task.cancel()
        await super().close()
        await self.client.aclose()

    async def models(self) -> list[ModelInfo]:
        """Return the models of all live workers."""
        return list({model.name: model for models, _ in await self._workers() for model in models}.values())

    async def _workers(self) -> list[tuple[list[ModelInfo], int]]:
        """Return the models and the number of columns of each live worker."""
        with redis_errors():
            ids = sorted(await self.client.smembers(WORKERS))
            found = await self.client.mget([key("worker", each) for each in ids]) if ids else []
            if dead := [each for each, text in zip(ids, found, strict=True) if text is None]:
                await self.client.srem(WORKERS, *dead)
        return [announced(text) for text in found if text is not None]

    async def _columns(self, model: str) -> int:
        workers = await self._workers()
        return sum(columns for models, columns in workers if model in [info.name for info in models])

    async def _unfinished(self, model: str) -> int:
        with redis_errors():
            return await self.client.xlen(key("jobs", model))

    async def job_counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs."""
        return {"unfinished": sum([await self._unfinished(model.name) for model in await self.models()])}

    async def _waiting(self, model: str) -> list[str]:
        if not await self._columns(model):
            raise Unavailable("no worker is available: generation continues when one is started")
        fetched, entries = self._queues.get(model, (-READ_TIMEOUT, {}))
        if time.monotonic() - fetched >= READ_TIMEOUT:
            entries = await self._entries(model)
            self._queues[model] = time.monotonic(), entries
        return list(entries)

    async def _entries(self, model: str) -> dict[str, str]:
        """Return the stream entry of each job that no worker has taken, in order."""
        stream, last = key("jobs", model), "0"
        with redis_errors():
            if await self.client.exists(stream):
                groups = await self.client.xinfo_groups(stream)
                last = next((each["last-delivered-id"] for each in groups if each["name"] == GROUP), last)
            entries = await self.client.xrange(stream, f"({last}")
        return {fields["job"]: entry for entry, fields in entries}

    async def _give(self, job_id: str, text: Text) -> None:
        stream = key("jobs", text.request.model)
        with redis_errors():
            async with self.client.pipeline() as pipeline:
                pipeline.set(key("request", job_id), text.request.dump(), px=milliseconds(KEEP))
                pipeline.set(key("seen", job_id), "", px=milliseconds(UNSEEN_AFTER))
                pipeline.xadd(stream, {"job": job_id}).pexpire(stream, milliseconds(KEEP))
                await pipeline.execute()

    async def check(self) -> None:
        """Also write to Redis: if it is full, it responds but rejects writes."""
        await super().check()
        with redis_errors():
            await self.client.set(key("check", ""), "", px=milliseconds(KEEP))

    async def _find(self, job_id: str) -> Request:
        if not job_id.isascii():  # lone surrogates, which JSON allows, cannot be sent to Redis
            raise NoSuchJob
        with redis_errors():
            text = await self.client.get(key("request", job_id))
        if text is None:
            raise NoSuchJob
        return Request.load(text)

    async def join(self, job_id: str) -> None:
        """Keep workers from cancelling a job whose last reader has left."""
        await self._keep_seen(job_id, UNSEEN_AFTER)

    async def leave(self, job_id: str) -> None:
        """Let a job without readers on any server be cancelled after `ABANDONED_AFTER` seconds."""
        if (text := self.texts.get(job_id)) and text.readers:
            return
        await self._keep_seen(job_id, ABANDONED_AFTER)

    async def _keep_seen(self, job_id: str, seconds: float) -> None:
        with suppress(Unavailable), redis_errors():
            await self.client.pexpire(key("seen", job_id), milliseconds(seconds))

    async def _abandon(self, job_id: str, text: Text) -> None:
        self.texts.lose(job_id)  # a worker cancels the job if no other server reads it either

    async def _cancel(self, job_id: str, text: Text) -> None:
        model = text.request.model
        entry = (await self._entries(model)).get(job_id)
        with redis_errors():
            # A worker that has taken the job, perhaps just now, ends it within about a second.
            await self.client.set(key("cancelled", job_id), "", px=milliseconds(KEEP))
            if entry and await self.client.xdel(key("jobs", model), entry):
                await self.client.xadd(key("text", job_id), dump(Update("", Details(), 0, "cancelled")))
                await self.client.pexpire(key("text", job_id), milliseconds(KEEP))

    async def _read(self) -> None:
        """Add what workers publish to the texts in progress."""
        while not self._closing:
            behind = False
            try:
                behind = await self._read_once()
            except Exception as error:
                if not isinstance(error, Unavailable):
                    logging.exception("unexpected error while reading from Redis")
                self._lose_all()
            await asyncio.sleep(0 if behind else INTERVAL)

    async def _read_once(self) -> bool:
        """Read the next entries of all texts in progress, and return whether there may be more."""
        texts = {key("text", job_id): text for job_id, text in self.texts.in_progress().items()}
        if not texts:
            return False
        positions = {stream: text.position for stream, text in texts.items()}
        with redis_errors():
            found = await self.client.xread(positions, count=MOST, block=milliseconds(INTERVAL))
        for stream, entries in found:
            text = texts[stream]
            for text.position, fields in entries:
                text.add(parse(fields))
        return any(len(entries) == MOST for _, entries in found)

    def _lose_all(self) -> None:
        for job_id in self.texts.in_progress():
            self.texts.lose(job_id)

    async def _keep_reading(self) -> None:
        """Regularly record that jobs have readers, and drop jobs that Redis has lost."""
        while not self._closing:
            await asyncio.sleep(ABANDONED_AFTER / 4)
            jobs = [job_id for job_id, text in self.texts.in_progress().items() if text.readers]
            try:
                with redis_errors():
                    async with self.client.pipeline(transaction=False) as pipeline:
                        for job_id in jobs:
                            pipeline.exists(key("request", job_id))
                        for job_id in jobs:
                            pipeline.set(key("seen", job_id), "", px=milliseconds(UNSEEN_AFTER))
                        found = await pipeline.execute()
            except Unavailable:  # workers cannot publish text either
                self._lose_all()
                continue
            for job_id, exists in zip(jobs, found, strict=False):
                if not exists:
                    self.texts.lose(job_id)


@lru_cache(64)
def announced(announcement: str) -> tuple[list[ModelInfo], int]:
    """Return the models and the number of columns in a worker's announcement."""
    worker = json.loads(announcement)
    return [ModelInfo(**model) for model in worker["models"]], worker["columns"]
