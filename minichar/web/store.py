"""Data that servers and workers share in Redis.

    minichar:request:JOB      the request
    minichar:message:JOB      the id of the job in the queue
    minichar:text:JOB         a stream of updates, in publication order
    minichar:seen:JOB         exists while the job has a reader
    minichar:cancelled:JOB    exists if the job was cancelled while it was not waiting
    minichar:attempts:JOB     the number of workers that have started the job
    minichar:snapshot:KEY     a snapshot of a text
    minichar:worker:ID        the models of a worker, while it sends heartbeats
    minichar:workers          the ids of all workers, including some dead ones

Dramatiq provides the queues and heartbeats, and redelivers the jobs of dead workers. All keys expire.
"""

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import redis
from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from minichar.errors import MinicharError
from minichar.web.details import Details
from minichar.web.job import ABANDONED_AFTER, Update
from minichar.web.jobs import KEEP, KEEP_ALTERNATIVES

HEARTBEAT_TIMEOUT = 5.0
"""Seconds without a heartbeat after which a worker is considered dead and its jobs are redelivered."""
UNSEEN_AFTER = 3 * ABANDONED_AFTER
"""Seconds after which a job is abandoned if no server renews its `seen` key; a busy server may do so late."""
CONNECTIONS = 32
"""Maximum number of connections in a pool. Threads wait up to `POOL_TIMEOUT` seconds for a free one."""
POOL_TIMEOUT = 20
SOCKET_TIMEOUT = 5.0
"""Seconds after which a command without a reply fails. Older versions of redis-py would wait forever."""
NAMESPACE = "minichar"

Entry = tuple[str, str]
"""The id of a stream entry, and a serialised update."""


class Store:
    """Access to the data that servers and workers share in Redis.

    Parameters
    ----------
    url : str
        Redis URL, such as ``redis://127.0.0.1:6379/0``.
    retries : int
        Number of times to retry a failed command, with a backoff of up to two seconds.

    Raises
    ------
    MinicharError
        If the URL is invalid.
    """

    def __init__(self, url: str, retries: int) -> None:
        try:
            self.address = address(url)
            self.client = client(url, retries, decode_responses=True)
        except ValueError:  # the error message may contain the password
            raise MinicharError(
                "invalid Redis URL: it must have the form redis://HOST:PORT/DATABASE"
            ) from None
        self._url = url
        # At the maximum maintenance_chance, each fetch also redelivers the jobs of dead workers.
        self.broker = RedisBroker(
            client=client(url, retries),
            middleware=[],
            namespace=NAMESPACE,
            heartbeat_timeout=int(1000 * HEARTBEAT_TIMEOUT),
            maintenance_chance=1_000_000,
        )

    def problem(self) -> str | None:
        """Return the reason why Redis cannot be reached, or None if it can."""
        try:
            retry = Retry(NoBackoff(), 0)
            with redis.Redis.from_url(self._url, socket_timeout=SOCKET_TIMEOUT, retry=retry) as once:
                once.ping()
        except redis.RedisError as error:
            return f"cannot connect to Redis at {self.address}: {error}"
        return None

    def put(self, kind: str, name: str, value: str, seconds: float) -> None:
        """Set a value that expires after the given number of seconds."""
        self.client.set(key(kind, name), value, px=int(1000 * seconds))

    def get(self, kind: str, name: str) -> str | None:
        """Return a value, or None if it does not exist."""
        return self.client.get(key(kind, name))

    def increment(self, kind: str, name: str) -> int:
        """Increment a counter and return its new value."""
        with self.client.pipeline() as pipeline:
            number, _ = pipeline.incr(key(kind, name)).pexpire(key(kind, name), int(1000 * KEEP)).execute()
        return int(number)

    def add(self, news: Mapping[str, Sequence[Update]], alternatives: Container[str] = ()) -> None:
        """Append each job's updates to its text stream. Jobs in `alternatives` expire soon after they end."""
        with self.client.pipeline() as pipeline:
            for job_id, updates in news.items():
                for update in updates:
                    pipeline.xadd(key("text", job_id), {"update": dump(update)})
                # Keep the text of an unfinished job longer, because another worker may have to continue it.
                seconds = KEEP_ALTERNATIVES if updates[-1].reason and job_id in alternatives else KEEP
                for kind in ("text", "request"):
                    pipeline.pexpire(key(kind, job_id), int(1000 * seconds))
            pipeline.execute()

    def snapshots(self, keys: Sequence[str]) -> list[str | None]:
        """Return the serialised snapshots with these keys and extend their expiry time."""
        with self.client.pipeline(transaction=False) as pipeline:
            pipeline.mget([key("snapshot", name) for name in keys])
            for name in keys:
                pipeline.pexpire(key("snapshot", name), int(1000 * KEEP))
            return pipeline.execute()[0]

    def replace_snapshots(self, old: Iterable[str], new: Mapping[str, str], used: Iterable[str]) -> None:
        """Remove the snapshots in `old`, store those in `new`, and extend the expiry of those in `used`."""
        with self.client.pipeline(transaction=False) as pipeline:
            for name in old:
                pipeline.delete(key("snapshot", name))
            for name, serialized in new.items():
                pipeline.set(key("snapshot", name), serialized, px=int(1000 * KEEP))
            for name in used:
                pipeline.pexpire(key("snapshot", name), int(1000 * KEEP))
            pipeline.execute()

    def expire_queue(self, queue: str) -> None:
        """Set an expiry time on a queue's keys, because Dramatiq does not.

        Workers call this method with every heartbeat, and before they start a job.
        """
        names = ("__heartbeats__", f"__acks__.{self.broker.broker_id}.{queue}")
        with self.client.pipeline() as pipeline:
            for name in (*names, *(f"{queue}{suffix}" for suffix in ("", ".msgs", ".XQ", ".XQ.msgs"))):
                pipeline.pexpire(f"{NAMESPACE}:{name}", int(1000 * KEEP))
            pipeline.execute()

    def waiting(self, queue: str) -> int:
        """Return the number of jobs that are waiting for a worker."""
        return self.client.llen(f"{NAMESPACE}:{queue}")

    def unfinished(self, queue: str) -> int:
        """Return the number of jobs that are waiting or running."""
        return self.client.hlen(f"{NAMESPACE}:{queue}.msgs")

    def position(self, queue: str, job_id: str) -> int | None:
        """Return a job's position in a queue, counting from 1, or None if a worker has taken the job."""
        message = self.get("message", job_id)
        index = self.client.lpos(f"{NAMESPACE}:{queue}", message) if message else None
        return None if index is None else index + 1

    def remove_waiting(self, queue: str, job_id: str) -> bool:
        """Remove a job from a queue unless a worker has taken it, and return whether it was removed."""
        message = self.get("message", job_id)
        if message is None or not self.client.lrem(f"{NAMESPACE}:{queue}", 1, message):
            return False
        self.client.hdel(f"{NAMESPACE}:{queue}.msgs", message)
        self.add({job_id: [Update("", Details(), 0, "cancelled")]})
        return True

    def remove_abandoned(self, queue: str) -> None:
        """Remove waiting jobs from a queue if they have been cancelled or have no reader."""
        if messages := self.client.lrange(f"{NAMESPACE}:{queue}", 0, -1):
            encoded = self.client.hmget(f"{NAMESPACE}:{queue}.msgs", messages)
            job_ids = [Message.decode(text.encode()).args[0] for text in encoded if text is not None]
            for job_id in self.abandoned(job_ids):
                self.remove_waiting(queue, job_id)

    def read(
        self, positions: Mapping[str, str], wait: float = 0.0, most: int | None = None
    ) -> Iterator[tuple[str, list[Entry]]]:
        """Yield the id and the new stream entries of each job with new text.

        Parameters
        ----------
        positions : dict of str to str
            For each job, the id of the last known stream entry; "0" if there is none.
        wait : float
            Maximum time to wait for the first entry, in seconds.
        most : int or None
            Maximum number of entries per job; None for no limit.
        """
        streams = {key("text", job_id): last for job_id, last in positions.items()}
        found: Any = self.client.xread(streams, count=most, block=int(1000 * wait) or None)
        for name, entries in found.items() if isinstance(found, dict) else found:
            yield name.removeprefix(key("text", "")), [(entry, fields["update"]) for entry, fields in entries]

    def entries(self, job_id: str, position: str = "0", most: int | None = None) -> list[Entry]:
        """Return a job's stream entries after `position`, limited to the first `most` entries."""
        return dict(self.read({job_id: position}, most=most)).get(job_id, [])

    def updates(self, job_id: str) -> list[Update]:
        """Return all updates of a job."""
        return [parse(update) for _, update in self.entries(job_id)]

    def keep_reading(self, job_ids: Sequence[str]) -> None:
        """Record that each of the jobs has a reader."""
        with self.client.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.set(key("seen", job_id), "", px=int(1000 * UNSEEN_AFTER))
            pipeline.execute()

    def stop_reading(self, job_id: str) -> None:
        """Let a job's `seen` key expire in `ABANDONED_AFTER` seconds unless another server renews it."""
        self.client.pexpire(key("seen", job_id), int(1000 * ABANDONED_AFTER))

    def abandoned(self, job_ids: Sequence[str]) -> list[str]:
        """Return the jobs that have been cancelled or have no reader."""
        keys = [key(kind, job_id) for kind in ("seen", "cancelled") for job_id in job_ids]
        values = self.client.mget(keys) if keys else []
        seen, cancelled = values[: len(job_ids)], values[len(job_ids) :]
        found = zip(job_ids, seen, cancelled, strict=True)
        return [job_id for job_id, s, c in found if s is None or c is not None]

    def announce(self, worker_id: str, announcement: str) -> None:
        """Publish a worker's announcement, which expires after the heartbeat timeout."""
        with self.client.pipeline() as pipeline:
            pipeline.set(key("worker", worker_id), announcement, px=int(1000 * HEARTBEAT_TIMEOUT))
            pipeline.sadd(WORKERS, worker_id).pexpire(WORKERS, int(1000 * KEEP))
            pipeline.execute()

    def withdraw(self, worker_id: str) -> None:
        """Remove a worker's announcement."""
        self.client.delete(key("worker", worker_id))

    def workers(self) -> list[dict[str, Any]]:
        """Return the announcements of all live workers."""
        ids = sorted(self.client.smembers(WORKERS))
        if not ids:
            return []
        announcements = self.client.mget([key("worker", worker_id) for worker_id in ids])
        if dead := [worker_id for worker_id, text in zip(ids, announcements, strict=True) if text is None]:
            self.client.srem(WORKERS, *dead)
        return [json.loads(text) for text in announcements if text is not None]

    def columns(self, model: str) -> int:
        """Return how many of a model's jobs the live workers can run concurrently in total."""
        with_model = (w for w in self.workers() if any(info["name"] == model for info in w["models"]))
        return sum(worker["columns"] for worker in with_model)


def address(url: str) -> str:
    """Return the host, port and database of a Redis URL, without the password."""
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("unknown scheme")
    host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    return f"{parts.scheme}://{host}{parts.path}"


def client(url: str, retries: int, **options: Any) -> Any:  # the types differ between redis-py versions
    """Return a client that opens at most `CONNECTIONS` connections, shared by all threads.

    Without a limit, each thread would hold its own connection. With redis-py's default pool, a thread
    would get an error instead of waiting when the limit is reached.
    """
    retry = Retry(ExponentialBackoff(cap=2, base=0.05), retries)
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=POOL_TIMEOUT,
        socket_timeout=SOCKET_TIMEOUT,
        retry=retry,
        **options,
    )
    return redis.Redis(connection_pool=pool)


def dump(update: Update) -> str:
    """Serialise an update to JSON."""
    return json.dumps(vars(update) | {"details": update.details.dump()})


def parse(text: str) -> Update:
    """Restore an update serialised by `dump`."""
    fields = json.loads(text)
    return Update(**fields | {"details": Details.load(fields["details"])})


def key(kind: str, name: str) -> str:
    """Return a Redis key."""
    return f"{NAMESPACE}:{kind}:{name}"


WORKERS = f"{NAMESPACE}:workers"


def queue_name(model: str) -> str:
    """Return a model's queue name: a hash, because Dramatiq restricts the characters in queue names."""
    return f"model-{sha256(model.encode()).hexdigest()[:16]}"
