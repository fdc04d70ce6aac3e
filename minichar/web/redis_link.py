"""Messages between workers and servers, over Redis: the worker's side."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from minichar.web.details import Details
from minichar.web.request import Request
from minichar.web.store import GROUP, WORKERS, dump, key, milliseconds, parse, pool, redis_errors
from minichar.web.texts import KEEP, KEEP_ALTERNATIVES
from minichar.web.update import READ_TIMEOUT, Update
from minichar.web.worker import HEARTBEAT_TIMEOUT, Link, Order


class RedisLink(Link):
    """A worker's connection to Redis. Raise `MinicharError` if the URL is invalid."""

    def __init__(self, url: str) -> None:
        retry = Retry(ExponentialBackoff(cap=2, base=0.05), 3)
        self.client: Any = redis.Redis(connection_pool=pool(redis.BlockingConnectionPool, url, retry))
        self.id = str(uuid4())
        # The stream entry of each job that was taken, and how long its text is kept.
        self._taken: dict[str, tuple[str, float]] = {}
        self._checked: dict[str, float] = {}

    def announce(self, announcement: str, running: Mapping[str, Sequence[str]]) -> None:
        """Announce the worker, renew its claims on jobs, and remove waiting jobs without readers."""
        with redis_errors():
            with self.client.pipeline() as pipeline:
                if announcement:
                    pipeline.set(key("worker", self.id), announcement, px=milliseconds(HEARTBEAT_TIMEOUT))
                    pipeline.sadd(WORKERS, self.id).pexpire(WORKERS, milliseconds(KEEP))
                else:
                    pipeline.delete(key("worker", self.id)).srem(WORKERS, self.id)
                pipeline.execute()
            for model, job_ids in running.items():
                self._create_group(model)
                if entries := [self._taken[job_id][0] for job_id in job_ids if job_id in self._taken]:
                    # Taking its own jobs again resets the time after which another worker takes them.
                    self.client.xclaim(key("jobs", model), GROUP, self.id, 0, entries, justid=True)
                self.client.pexpire(key("jobs", model), milliseconds(KEEP))
                self._remove_abandoned(model)

    def withdraw(self) -> None:
        """Remove the worker from Redis."""
        with redis_errors():
            self.client.delete(key("worker", self.id))
            self.client.srem(WORKERS, self.id)
            for model in self._checked:
                with suppress(redis.ResponseError):
                    self.client.xgroup_delconsumer(key("jobs", model), GROUP, self.id)

    def take(self, model: str) -> Order | None:
        """Take a job of a dead worker or a waiting job. If there is none, wait for up to a second."""
        stream = key("jobs", model)
        with redis_errors():
            try:
                found, attempts = self._take_over(model), 1
                if found is None:
                    new = self.client.xreadgroup(
                        GROUP, self.id, {stream: ">"}, count=1, block=milliseconds(READ_TIMEOUT)
                    )
                    found = (*new[0][1][0], 0) if new else None
            except redis.ResponseError as error:
                if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                    raise
                self._create_group(model)
                found = None
            if found is None:
                return None
            entry, fields, attempts = found
            job_id = fields["job"]
            request = self.client.get(key("request", job_id))
            published = [parse(fields) for _, fields in self.client.xrange(key("text", job_id))]
        alternatives = request and Request.load(request).alternatives
        self._taken[job_id] = entry, KEEP_ALTERNATIVES if alternatives else KEEP
        return Order(job_id, request, published, attempts + 1)

    def _take_over(self, model: str) -> tuple[str, dict[str, str], int] | None:
        """Take a job whose worker has died. Return its entry and the number of earlier attempts."""
        now, stream, idle = time.monotonic(), key("jobs", model), milliseconds(HEARTBEAT_TIMEOUT)
        if now - self._checked.get(model, -READ_TIMEOUT) < READ_TIMEOUT:
            return None
        self._checked[model] = now
        _, claimed, _ = self.client.xautoclaim(stream, GROUP, self.id, idle, count=1)
        for entry, fields in claimed:
            self._checked[model] = 0.0  # there may be more
            (pending,) = self.client.xpending_range(stream, GROUP, entry, entry, 1)
            return entry, fields, pending["times_delivered"] - 1
        return None

    def publish(self, model: str, news: Mapping[str, Update], ended: Sequence[str]) -> None:
        """Append updates to the texts in Redis, and complete the jobs in `ended`."""
        with redis_errors(), self.client.pipeline() as pipeline:
            for job_id, update in news.items():
                pipeline.xadd(key("text", job_id), dump(update))
                # Another worker may have to continue the text of an unfinished job.
                kept = self._taken[job_id][1] if job_id in ended and job_id in self._taken else KEEP
                for kind in ("text", "request"):
                    pipeline.pexpire(key(kind, job_id), milliseconds(kept))
            for job_id in ended:
                if job_id in self._taken:
                    entry = self._taken[job_id][0]
                    pipeline.xack(key("jobs", model), GROUP, entry).xdel(key("jobs", model), entry)
            pipeline.execute()
        for job_id in ended:
            self._taken.pop(job_id, None)

    def unwanted(self, job_ids: Sequence[str]) -> list[str]:
        """Return the jobs that have been cancelled or have no readers."""
        if not job_ids:
            return []
        keys = [key(kind, job_id) for kind in ("seen", "cancelled") for job_id in job_ids]
        with redis_errors():
            values = self.client.mget(keys)
        found = zip(job_ids, values[: len(job_ids)], values[len(job_ids) :], strict=True)
        return [job_id for job_id, seen, cancelled in found if seen is None or cancelled is not None]

    def _create_group(self, model: str) -> None:
        """Create the consumer group of a model's jobs unless it exists."""
        try:
            self.client.xgroup_create(key("jobs", model), GROUP, id="0", mkstream=True)
            self.client.pexpire(key("jobs", model), milliseconds(KEEP))
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _remove_abandoned(self, model: str) -> None:
        """Cancel waiting jobs without readers, so that they do not fill the queue."""
        stream = key("jobs", model)
        (group,) = (group for group in self.client.xinfo_groups(stream) if group["name"] == GROUP)
        waiting = self.client.xrange(stream, f"({group['last-delivered-id']}")
        entries = {fields["job"]: entry for entry, fields in waiting}
        for job_id in self.unwanted(list(entries)):
            if self.client.xdel(stream, entries[job_id]):
                self.publish(model, {job_id: Update("", Details(), 0, "cancelled")}, [])
