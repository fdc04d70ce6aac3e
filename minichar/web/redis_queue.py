"""Job queue in Redis, for workers on any number of machines.

    minichar:request:JOB      the request
    minichar:text:JOB         a stream of updates, in publication order
    minichar:seen:JOB         exists while the job has a reader
    minichar:cancelled:JOB    exists if the job was cancelled
    minichar:attempts:JOB     the number of workers that have started the job
    minichar:worker:ID        the models of a worker, while it sends heartbeats

Dramatiq provides the queue and the consumer heartbeats, and redelivers the jobs of dead workers.
All keys expire.
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from minichar.errors import MinicharError
from minichar.web.job import ABANDONED_AFTER, READ_TIMEOUT, Busy, Update
from minichar.web.models import ModelInfo
from minichar.web.queue import KEEP, JobQueue, Unavailable
from minichar.web.request import Request

HEARTBEAT_TIMEOUT = 5.0
"""Seconds without a heartbeat after which a worker is considered dead and its jobs are redelivered."""
NAMESPACE = "minichar"


class Store:
    """Data shared by servers and workers in Redis.

    Parameters
    ----------
    url : str
        Redis URL, such as ``redis://127.0.0.1:6379/0``.
    retries : int
        Number of times to retry a failed command, with a backoff of up to two seconds.

    Raises
    ------
    MinicharError
        If Redis cannot be reached.
    """

    def __init__(self, url: str, retries: int) -> None:
        try:
            self.client: Any = redis.Redis.from_url(  # the types differ between versions of redis-py
                url, decode_responses=True, retry=Retry(ExponentialBackoff(cap=2, base=0.05), retries)
            )
            redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)).ping()
        except (redis.RedisError, ValueError) as error:
            raise MinicharError(f"cannot connect to Redis at {url}: {error}") from error
        # At the maximum maintenance_chance, every consumer command sends a heartbeat and checks for
        # dead consumers.
        self.broker = RedisBroker(
            url=url,
            middleware=[],
            namespace=NAMESPACE,
            heartbeat_timeout=int(1000 * HEARTBEAT_TIMEOUT),
            maintenance_chance=1_000_000,
        )

    def put(self, kind: str, name: str, value: str, seconds: float) -> None:
        """Set a value that expires after `seconds`."""
        self.client.set(key(kind, name), value, px=int(1000 * seconds))

    def get(self, kind: str, name: str) -> str | None:
        """Return a value, or None if it does not exist."""
        return self.client.get(key(kind, name))

    def remove(self, kind: str, name: str) -> None:
        """Delete a value."""
        self.client.delete(key(kind, name))

    def increment(self, kind: str, name: str) -> int:
        """Increment a counter and return its new value."""
        with self.client.pipeline() as pipeline:
            number, _ = pipeline.incr(key(kind, name)).pexpire(key(kind, name), int(1000 * KEEP)).execute()
        return int(number)

    def add(self, job_id: str, update: Update) -> None:
        """Append an update to the text of a job."""
        with self.client.pipeline() as pipeline:
            pipeline.xadd(key("text", job_id), {"update": json.dumps(asdict(update))})
            for kind in ("text", "request"):
                pipeline.pexpire(key(kind, job_id), int(1000 * KEEP))
            pipeline.execute()

    def updates(self, job_id: str, last: str = "0", wait: float = 0.0) -> Iterator[tuple[str, Update]]:
        """Yield the updates after stream entry `last`, each with its entry id.

        Parameters
        ----------
        job_id : str
        last : str
            Id of a stream entry; "0" for all updates.
        wait : float
            Maximum time to wait for the first update, in seconds.
        """
        found: Any = self.client.xread({key("text", job_id): last}, block=int(1000 * wait) or None)
        for _, entries in found:
            for entry, fields in entries:
                yield entry, Update(**json.loads(fields["update"]))

    def abandoned(self, job_id: str) -> bool:
        """Return whether a job has been cancelled or has no reader."""
        seen, cancelled = self.client.mget(key("seen", job_id), key("cancelled", job_id))
        return seen is None or cancelled is not None

    def workers(self) -> list[dict[str, Any]]:
        """Return the announcements of all live workers."""
        keys = sorted(self.client.scan_iter(key("worker", "*"), count=1000))
        return [json.loads(value) for value in self.client.mget(keys) if value] if keys else []


def key(kind: str, name: str) -> str:
    """Return a Redis key."""
    return f"{NAMESPACE}:{kind}:{name}"


def queue_name(model: str) -> str:
    """Return the queue name for a model. It is a hash, because Dramatiq restricts the characters in names."""
    return f"model-{sha256(model.encode()).hexdigest()[:16]}"


@contextmanager
def redis_errors() -> Iterator[None]:
    """Convert Redis errors to `Unavailable`."""
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable("Redis is not responding: try again later") from error


class RedisQueue(JobQueue):
    """Queue that sends jobs to workers through Redis.

    Parameters
    ----------
    url : str
        Redis URL.
    queue : int
        Maximum number of waiting jobs per model.
    """

    def __init__(self, url: str, queue: int) -> None:
        self._store, self._queue = Store(url, retries=1), queue

    def models(self) -> list[ModelInfo]:
        """Return the models of all live workers."""
        with redis_errors():
            workers = self._store.workers()
        models = [ModelInfo(**model) for worker in workers for model in worker["models"]]
        return list({model.name: model for model in models}.values())

    def submit(self, request: Request) -> str:
        """Queue a request and return the id of its job."""
        request, model = self.resolve(request)
        request.stream(model.vocabulary)  # rejects unknown characters before the job is queued
        store, queue, job_id = self._store, queue_name(model.name), secrets.token_urlsafe(12)
        with redis_errors():
            columns = sum(
                worker["columns"]
                for worker in store.workers()
                if any(m["name"] == model.name for m in worker["models"])
            )
            if store.broker.do_qsize(queue) >= columns + self._queue:
                raise Busy("too many requests are in progress: try again later")
            store.put("request", job_id, request.dump(), KEEP)
            store.put("seen", job_id, "", ABANDONED_AFTER)
            store.broker.enqueue(Message(queue, queue, (job_id,), {}, {}))
        return job_id

    def request(self, job_id: str) -> Request:
        """Return the request of a job."""
        with redis_errors():
            text = self._store.get("request", job_id)
        if text is None:
            raise KeyError(job_id)
        return Request.load(text)

    def follow(self, job_id: str, after: int) -> Iterator[Update | None]:
        """Yield updates until the job ends, skipping `after` characters; yield None on a timeout."""
        last = "0"
        try:
            while True:
                self._store.put("seen", job_id, "", ABANDONED_AFTER)
                found = list(self._store.updates(job_id, last, READ_TIMEOUT))
                if not found:
                    yield None
                for entry, update in found:
                    last = entry
                    # A slow worker that was considered dead may publish the same characters as its successor.
                    start = len(update.text) - max(0, min(len(update.text), update.end - after))
                    after = max(after, update.end)
                    text, details = update.text[start:], update.details[start:]
                    if text or update.reason or update.restarted:
                        yield Update(text, details, after, update.reason, update.error, update.restarted)
                    if update.reason:
                        return
        except redis.RedisError:
            yield Update("", [], after, "closing")

    def cancel(self, job_id: str) -> None:
        """Cancel a job; do nothing if the id is unknown."""
        with redis_errors():
            self._store.put("cancelled", job_id, "", KEEP)

    def job_counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs."""
        with redis_errors():
            queues = [queue_name(model.name) for model in self.models()]
            return {"unfinished": sum(self._store.broker.do_qsize(queue) for queue in queues)}

    def close(self) -> None:
        """Close the connection to Redis. Workers continue jobs that still have a reader."""
        self._store.client.close()
