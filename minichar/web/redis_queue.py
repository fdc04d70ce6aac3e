"""Job queue in Redis, for workers on any number of machines."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import redis
from dramatiq import Message

from minichar.web.details import Details
from minichar.web.job import Busy, Update
from minichar.web.jobs import KEEP
from minichar.web.models import ModelInfo
from minichar.web.queue import JobQueue, Unavailable
from minichar.web.request import Request
from minichar.web.store import Store, parse, queue_name
from minichar.web.subscriber import MOST, MOST_PLAIN, Subscriber


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
        self._subscriber = Subscriber(self._store)

    def problem(self) -> str | None:
        """Return the reason why Redis cannot be reached, or None if it can."""
        return self._store.problem()

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
            if store.unfinished(queue) >= store.columns(model.name) + self._queue:
                raise Busy("too many requests are in progress: try again later")
            store.put("request", job_id, request.dump(), KEEP)
            store.keep_reading([job_id])
            message = store.broker.enqueue(Message(queue, queue, (job_id,), {}, {}))
            store.put("message", job_id, message.options["redis_message_id"], KEEP)
            store.expire_queue(queue)
        return job_id

    def request(self, job_id: str) -> Request:
        """Return the request that started a job."""
        if not job_id.isascii():  # lone surrogates, which JSON allows, cannot be sent to Redis
            raise KeyError(job_id)
        with redis_errors():
            text = self._store.get("request", job_id)
        if text is None:
            raise KeyError(job_id)
        return Request.load(text)

    def follow(self, job_id: str, after: int) -> Iterator[Update | None]:
        """Yield updates until the job ends, skipping the first `after` characters; yield None on timeout."""
        with closing(self._subscriber.follow(job_id, self._most(job_id))) as batches:
            for entries in batches:
                if not entries:
                    if not self._exists(job_id):
                        break
                    yield None
                for _, text in entries:
                    update = parse(text)
                    # A slow worker that was presumed dead may publish the same characters as its successor.
                    start = len(update.text) - max(0, min(len(update.text), update.end - after))
                    after = max(after, update.end)
                    new, details = update.text[start:], update.details.after(start)
                    if new or update.reason or update.restarted:
                        yield Update(new, details, after, update.reason, update.error, update.restarted)
                    if update.reason:
                        return
        yield Update("", Details(), after, "closing")

    def _most(self, job_id: str) -> int:
        """Return the maximum number of stream entries to read at a time for a job."""
        try:
            return MOST if self.request(job_id).alternatives else MOST_PLAIN
        except (KeyError, Unavailable):
            return MOST

    def _exists(self, job_id: str) -> bool:
        """Return False if a job no longer exists in Redis, for example because it has expired."""
        try:
            return self._store.get("request", job_id) is not None
        except redis.RedisError:
            return True  # assume that the job exists; the subscriber stops the reader if Redis is down

    def leave(self, job_id: str) -> None:
        """Record that a client is no longer reading the text of a job.

        A job without readers on any server is cancelled after `ABANDONED_AFTER` seconds.
        """
        if not self._subscriber.has_reader(job_id):
            with suppress(redis.RedisError):
                self._store.stop_reading(job_id)

    def position(self, job_id: str) -> int | None:
        """Return a job's position in its model's queue, or None if the job is not waiting."""
        model = self.request(job_id).model
        with redis_errors():
            if not self._store.columns(model):
                raise Unavailable("no worker is available: generation continues when one is started")
            return self._store.position(queue_name(model), job_id)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job and return whether it was waiting. A running job stops within about a second."""
        try:
            model = self.request(job_id).model
        except KeyError:
            return False  # store nothing for unknown ids, because clients can send arbitrary ones
        with redis_errors():
            if self._store.remove_waiting(queue_name(model), job_id):
                return True
            self._store.put("cancelled", job_id, "", KEEP)
            return False

    def job_counts(self) -> dict[str, int]:
        """Return the number of unfinished jobs."""
        with redis_errors():
            queues = [queue_name(model.name) for model in self.models()]
            return {"unfinished": sum(self._store.unfinished(queue) for queue in queues)}

    def close(self) -> None:
        """Stop all readers on this server. Jobs that have a reader on another server continue to run."""
        self._subscriber.close()
