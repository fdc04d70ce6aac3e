"""The desk over Redis: asks workers, wherever they are.

    minichar:request:JOB      what was asked for
    minichar:text:JOB         a stream of its pieces, as they are published
    minichar:seen:JOB         there as long as somebody reads it
    minichar:cancelled:JOB    there when it is to be stopped
    minichar:attempts:JOB     how many workers have begun it
    minichar:worker:ID        what models a worker has; there as long as it says so

The queue between them, the heartbeats of the workers, and the handing on of what a dead worker had
are Dramatiq's. Every key expires.
"""

import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from minichar.errors import MinicharError
from minichar.web.desk import KEPT, Desk, Unavailable
from minichar.web.models import ModelInfo
from minichar.web.request import Request
from minichar.web.scheduler import ABANDONED, PATIENCE, Busy, Piece

HEARTBEAT = 5.0
"""Seconds after which a worker that is not heard of is dead, and others take what it had."""
NAMESPACE = "minichar"


class Store:
    """What desks and workers leave for each other in Redis.

    Parameters
    ----------
    url : str
        Such as ``redis://127.0.0.1:6379/0``.
    patience : int
        How often a lost connection is tried again, the last times two seconds apart.

    Raises
    ------
    MinicharError
        If there is no Redis.
    """

    def __init__(self, url: str, patience: int) -> None:
        try:
            self.client: Any = redis.Redis.from_url(  # whose types change from version to version
                url, decode_responses=True, retry=Retry(ExponentialBackoff(cap=2, base=0.05), patience)
            )
            redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)).ping()
        except (redis.RedisError, ValueError) as error:
            raise MinicharError(f"no Redis answers at {url}: {error}") from error
        # Every command of a worker says that it lives, and looks whether all others do.
        self.broker = RedisBroker(
            url=url,
            middleware=[],
            namespace=NAMESPACE,
            heartbeat_timeout=int(1000 * HEARTBEAT),
            maintenance_chance=1_000_000,
        )

    def put(self, kind: str, name: str, value: str, seconds: float) -> None:
        """Leave a value, for so long."""
        self.client.set(key(kind, name), value, px=int(1000 * seconds))

    def get(self, kind: str, name: str) -> str | None:
        """Return a value, None if it is not there or no more."""
        return self.client.get(key(kind, name))

    def remove(self, kind: str, name: str) -> None:
        """Take a value away."""
        self.client.delete(key(kind, name))

    def count(self, kind: str, name: str) -> int:
        """Count one more; return how many."""
        with self.client.pipeline() as pipeline:
            number, _ = pipeline.incr(key(kind, name)).pexpire(key(kind, name), int(1000 * KEPT)).execute()
        return int(number)

    def add(self, job: str, piece: Piece) -> None:
        """Add a piece to a text."""
        with self.client.pipeline() as pipeline:
            pipeline.xadd(key("text", job), {"piece": json.dumps(asdict(piece))})
            for kind in ("text", "request"):
                pipeline.pexpire(key(kind, job), int(1000 * KEPT))
            pipeline.execute()

    def pieces(self, job: str, last: str = "0", wait: float = 0.0) -> Iterator[tuple[str, Piece]]:
        """Yield the pieces of a text after that of id `last`, with their ids; wait so long for the first."""
        found: Any = self.client.xread({key("text", job): last}, block=int(1000 * wait) or None)
        for _, entries in found:
            for entry, fields in entries:
                yield entry, Piece(**json.loads(fields["piece"]))

    def unwanted(self, job: str) -> bool:
        """Return whether nobody reads it any more, or it was stopped."""
        seen, cancelled = self.client.mget(key("seen", job), key("cancelled", job))
        return seen is None or cancelled is not None

    def workers(self) -> list[dict[str, Any]]:
        """Return what the workers that are there say of themselves."""
        keys = sorted(self.client.scan_iter(key("worker", "*"), count=1000))
        return [json.loads(said) for said in self.client.mget(keys) if said] if keys else []


def key(kind: str, name: str) -> str:
    """Return where in Redis it stands."""
    return f"{NAMESPACE}:{kind}:{name}"


def queue_of(model: str) -> str:
    """Return the name of the queue of a model; its own may have any characters."""
    return f"model-{sha256(model.encode()).hexdigest()[:16]}"


class SharedDesk(Desk):
    """Has texts written by workers.

    Parameters
    ----------
    url : str
    queue : int
        How many texts may wait, for each model.
    """

    def __init__(self, url: str, queue: int) -> None:
        self._store, self._queue = Store(url, patience=1), queue

    def models(self) -> list[ModelInfo]:
        """Return the models that workers have now."""
        try:
            workers = self._store.workers()
        except redis.RedisError as error:
            raise Unavailable("Redis does not answer: try again in a moment") from error
        models = [ModelInfo(**model) for worker in workers for model in worker["models"]]
        return list({model.name: model for model in models}.values())

    def submit(self, request: Request) -> str:
        """Let a text be written; return the name of the job."""
        request, model = self.choose(request)
        request.stream(model.vocabulary)  # what the model does not know is told now
        store, queue, job = self._store, queue_of(model.name), secrets.token_urlsafe(12)
        try:
            columns = sum(
                worker["columns"]
                for worker in store.workers()
                if any(m["name"] == model.name for m in worker["models"])
            )
            if store.broker.do_qsize(queue) >= columns + self._queue:
                raise Busy("too many texts are being written: try again in a moment")
            store.put("request", job, request.dump(), KEPT)
            store.put("seen", job, "", ABANDONED)
            store.broker.enqueue(Message(queue, queue, (job,), {}, {}))
        except redis.RedisError as error:
            raise Unavailable("Redis does not answer: try again in a moment") from error
        return job

    def request(self, job: str) -> Request:
        """Return what was asked for."""
        try:
            text = self._store.get("request", job)
        except redis.RedisError as error:
            raise Unavailable("Redis does not answer: try again in a moment") from error
        if text is None:
            raise KeyError(job)
        return Request.read(text)

    def follow(self, job: str, after: int) -> Iterator[Piece | None]:
        """Yield what comes after the first `after` characters."""
        last = "0"
        try:
            while True:
                self._store.put("seen", job, "", ABANDONED)
                found = list(self._store.pieces(job, last, PATIENCE))
                if not found:
                    yield None
                for entry, piece in found:
                    last = entry
                    new = max(0, min(len(piece.text), piece.end - after))  # two workers may have written it
                    after = max(after, piece.end)
                    start = len(piece.text) - new
                    if new or piece.reason or piece.restarted:
                        yield Piece(
                            piece.text[start:],
                            piece.details[start:],
                            after,
                            piece.reason,
                            piece.error,
                            piece.restarted,
                        )
                    if piece.reason:
                        return
        except redis.RedisError:
            yield Piece("", [], after, "closing")

    def cancel(self, job: str) -> None:
        """Stop writing it."""
        self._store.put("cancelled", job, "", KEPT)

    def loads(self) -> dict[str, int]:
        """Return how many texts have not ended."""
        queues = [queue_of(model.name) for model in self.models()]
        return {"unfinished": sum(self._store.broker.do_qsize(queue) for queue in queues)}

    def close(self) -> None:
        """Let go of Redis; what is being written goes on as long as it is read."""
        self._store.client.close()
