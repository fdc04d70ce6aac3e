"""Messages between servers and workers, over Redis: the server's side."""

import asyncio
import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import lru_cache
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from minichar.web.details import Details
from minichar.web.models import ModelInfo
from minichar.web.queue import JobQueue
from minichar.web.request import Request
from minichar.web.store import (
    GROUP,
    UNSEEN_AFTER,
    WORKERS,
    address,
    dump,
    key,
    milliseconds,
    options,
    parse,
    redis_errors,
)
from minichar.web.texts import KEEP
from minichar.web.update import ABANDONED_AFTER, READ_TIMEOUT, Busy, Unavailable, Update

INTERVAL = 0.02
"""Minimum number of seconds between reads of the new text of all jobs with waiting readers."""
MOST, MOST_PLAIN = 20, 500
"""Maximum number of entries to read at once for jobs with and without alternatives. An entry takes up about
6 KB with alternatives and about 0.2 KB without."""

Entries = list[tuple[str, dict[str, str]]]
"""Ids and fields of stream entries."""


class Tail:
    """Reads the new text of all jobs with waiting readers, over one connection.

    Parameters
    ----------
    client : redis.asyncio.Redis
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._waiting: dict[tuple[str, str], asyncio.Future[Entries]] = {}
        self._changed = asyncio.Event()

    async def wait(self, job_id: str, position: str) -> Entries:
        """Wait up to `READ_TIMEOUT` seconds for entries after `position`.

        Raises
        ------
        Unavailable
            If Redis cannot be reached.
        """
        future = self._waiting.get((job_id, position))
        if future is None:
            future = self._waiting[job_id, position] = asyncio.get_running_loop().create_future()
            self._changed.set()
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                return await asyncio.shield(future)
        except TimeoutError:
            return []

    async def run(self) -> None:
        """Deliver new entries until cancelled."""
        while True:
            await self._changed.wait()
            try:
                await self._deliver()
            except Exception as error:
                if not isinstance(error, Unavailable):
                    logging.exception("unexpected error while reading from Redis")
                self.end_readers()
            await asyncio.sleep(INTERVAL)

    def end_readers(self) -> None:
        """Raise `Unavailable` in all readers that wait."""
        for future in self._take(list(self._waiting)):
            future.set_exception(Unavailable("Redis is not responding: try again later"))
            future.exception()  # its readers may have left

    async def _deliver(self) -> None:
        positions: dict[str, str] = {}
        for job_id, position in sorted(self._waiting, key=lambda each: order(each[1]), reverse=True):
            positions[key("text", job_id)] = position  # the earliest one; other readers of the job are next
        with redis_errors():
            found = await self._client.xread(positions, count=MOST, block=milliseconds(INTERVAL))
        for stream, entries in found:
            job_id = stream.removeprefix(key("text", ""))
            for future in self._take([(job_id, positions[stream])]):
                future.set_result(entries)

    def _take(self, waiting: list[tuple[str, str]]) -> list["asyncio.Future[Entries]"]:
        """Remove and return futures."""
        futures = [self._waiting.pop(each) for each in waiting]
        if not self._waiting:
            self._changed.clear()
        return [future for future in futures if not future.done()]


class RedisQueue(JobQueue):
    """Queue that sends jobs to workers through Redis.

    Parameters
    ----------
    url : str
        Redis URL.
    queue : int
        Maximum number of waiting jobs per model.

    Raises
    ------
    MinicharError
        If the URL is invalid.
    """

    def __init__(self, url: str, queue: int) -> None:
        address(url)  # checks the URL
        self._url, self._queue = url, queue
        self._readers: Counter[str] = Counter()
        self._positions: dict[str, tuple[float, dict[str, str]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Start to read from Redis."""
        retry = Retry(ExponentialBackoff(cap=2, base=0.05), 1)
        pool = redis.asyncio.BlockingConnectionPool.from_url(self._url, **options(retry))
        self.client: Any = redis.asyncio.Redis(connection_pool=pool)
        self._tail = Tail(self.client)
        self._tasks = [asyncio.create_task(self._tail.run()), asyncio.create_task(self._keep_reading())]

    async def models(self) -> list[ModelInfo]:
        """Return the models of all live workers."""
        models = [model for announcement in await self._workers() for model in models_of(announcement)]
        return list({model.name: model for model in models}.values())

    async def _workers(self) -> list[str]:
        """Return the announcements of all live workers."""
        with redis_errors():
            ids = sorted(await self.client.smembers(WORKERS))
            found = await self.client.mget([key("worker", each) for each in ids]) if ids else []
            if dead := [each for each, text in zip(ids, found, strict=True) if text is None]:
                await self.client.srem(WORKERS, *dead)
        return [text for text in found if text is not None]

    async def _columns(self, model: str) -> int:
        """Return how many of a model's jobs the live workers can run concurrently in total."""
        workers = [json.loads(announcement) for announcement in await self._workers()]
        return sum(
            worker["columns"] for worker in workers if any(info["name"] == model for info in worker["models"])
        )

    async def submit(self, request: Request) -> str:
        """Queue a request and return the id of its job."""
        request, model = await self.resolve(request)
        request.stream(model.vocabulary)  # rejects unknown characters before the job is queued
        await self._check_capacity(model.name)
        job_id, stream = secrets.token_urlsafe(12), key("jobs", model.name)
        with redis_errors():
            async with self.client.pipeline() as pipeline:
                pipeline.set(key("request", job_id), request.dump(), px=milliseconds(KEEP))
                pipeline.set(key("seen", job_id), "", px=milliseconds(UNSEEN_AFTER))
                pipeline.xadd(stream, {"job": job_id}).pexpire(stream, milliseconds(KEEP))
                await pipeline.execute()
        return job_id

    async def check(self) -> None:
        """Check whether a new request for the default model would be accepted."""
        models = await self.models()
        if not models:
            raise Unavailable("no worker is available: try again later")
        await self._check_capacity(models[0].name)
        with redis_errors():  # a full Redis answers, but rejects this
            await self.client.set(key("check", ""), "", px=1000)

    async def _check_capacity(self, model: str) -> None:
        with redis_errors():
            unfinished = await self.client.xlen(key("jobs", model))
        if unfinished >= await self._columns(model) + self._queue:
            raise Busy("too many requests are in progress: try again later")

    async def request(self, job_id: str) -> Request:
        """Return the request that started a job."""
        if not job_id.isascii():  # lone surrogates, which JSON allows, cannot be sent to Redis
            raise KeyError(job_id)
        with redis_errors():
            text = await self.client.get(key("request", job_id))
        if text is None:
            raise KeyError(job_id)
        return Request.load(text)

    async def follow(self, job_id: str, after: int) -> AsyncGenerator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""
        self._readers[job_id] += 1
        try:
            most = MOST if (await self.request(job_id)).alternatives else MOST_PLAIN
            position, behind = "0", True
            while not self._closing:
                entries = await self._entries(job_id, position, most) if behind else []
                if not entries:
                    entries = await self._tail.wait(job_id, position)
                behind = len(entries) >= min(MOST, most)
                if not entries:
                    await self.request(job_id)  # raises a KeyError if the job has expired
                    yield None
                for position, fields in entries:  # noqa: B007
                    # A slow worker that was presumed dead may publish the same text as its successor.
                    update = parse(fields).after(after)
                    after = update.end
                    if update.text or update.reason or update.restarted:
                        yield update
                    if update.reason:
                        return
        except (KeyError, Unavailable):
            pass
        finally:
            self._readers[job_id] -= 1
            if not self._readers[job_id]:
                del self._readers[job_id]
        yield Update("", Details(), after, "closing")

    async def _entries(self, job_id: str, position: str, most: int) -> Entries:
        """Return the first entries of a job after `position`."""
        with redis_errors():
            return await self.client.xrange(key("text", job_id), f"({position}", count=most)

    async def leave(self, job_id: str) -> None:
        """Record that a client is no longer reading the text of a job.

        A job without readers on any server is cancelled after `ABANDONED_AFTER` seconds.
        """
        if job_id not in self._readers:
            with suppress(Unavailable), redis_errors():
                await self.client.pexpire(key("seen", job_id), milliseconds(ABANDONED_AFTER))

    async def position(self, job_id: str) -> int | None:
        """Return a job's position in its model's queue, or None if the job is not waiting."""
        model = (await self.request(job_id)).model
        if not await self._columns(model):
            raise Unavailable("no worker is available: generation continues when one is started")
        fetched, waiting = self._positions.get(model, (-READ_TIMEOUT, {}))
        if time.monotonic() - fetched >= READ_TIMEOUT:  # once for all readers
            waiting = await self._waiting(model)
            self._positions[model] = time.monotonic(), waiting
        return list(waiting).index(job_id) + 1 if job_id in waiting else None

    async def _waiting(self, model: str) -> dict[str, str]:
        """Return the stream entry of each job that no worker has taken, in order."""
        stream, last = key("jobs", model), "0"
        with redis_errors():
            if await self.client.exists(stream):
                groups = await self.client.xinfo_groups(stream)
                last = next((group["last-delivered-id"] for group in groups if group["name"] == GROUP), last)
            entries = await self.client.xrange(stream, f"({last}")
        return {fields["job"]: entry for entry, fields in entries}

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job and return whether it was waiting. A running job stops within about a second."""
        try:
            model = (await self.request(job_id)).model
        except KeyError:
            return False  # store nothing for unknown ids, because clients can send arbitrary ones
        waiting = await self._waiting(model)
        with redis_errors():
            if job_id in waiting and await self.client.xdel(key("jobs", model), waiting[job_id]):
                await self.client.xadd(key("text", job_id), dump(Update("", Details(), 0, "cancelled")))
                await self.client.pexpire(key("text", job_id), milliseconds(KEEP))
                return True
            await self.client.set(key("cancelled", job_id), "", px=milliseconds(KEEP))
        return False

    async def job_counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs."""
        models = await self.models()
        with redis_errors():
            return {"unfinished": sum([await self.client.xlen(key("jobs", model.name)) for model in models])}

    async def close(self) -> None:
        """Stop all readers on this server. Jobs that have a reader on another server continue to run."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await self.client.aclose()

    async def _keep_reading(self) -> None:
        """Record regularly that jobs have readers."""
        while True:
            try:
                with redis_errors():
                    async with self.client.pipeline(transaction=False) as pipeline:
                        for job_id in self._readers:
                            pipeline.set(key("seen", job_id), "", px=milliseconds(UNSEEN_AFTER))
                        await pipeline.execute()
            except Unavailable:  # workers cannot publish text either
                self._tail.end_readers()
            await asyncio.sleep(ABANDONED_AFTER / 4)


def order(position: str) -> tuple[int, ...]:
    """Convert the id of a stream entry to a tuple, so that ids can be compared."""
    return tuple(map(int, position.split("-")))


@lru_cache(64)
def models_of(announcement: str) -> list[ModelInfo]:
    """Return the models in a worker's announcement."""
    return [ModelInfo(**model) for model in json.loads(announcement)["models"]]
