"""Data that servers and workers share in Redis.

    minichar:2:jobs:MODEL       a stream of the ids of waiting and running jobs; workers are a consumer group
    minichar:2:request:JOB      the request
    minichar:2:text:JOB         a stream of updates, in publication order
    minichar:2:seen:JOB         exists while the job has a reader
    minichar:2:cancelled:JOB    exists if the job was cancelled while it was not waiting
    minichar:2:worker:ID        the models of a worker, while it sends heartbeats
    minichar:2:workers          the ids of all workers, including some dead ones

All keys expire. Keys of other versions of this format are ignored: their jobs are treated as expired.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from minichar.errors import MinicharError
from minichar.web.errors import Unavailable, log_regularly
from minichar.web.update import ABANDONED_AFTER, Update

NAMESPACE = "minichar:2"
GROUP = "workers"
"""Name of the consumer group of each stream of jobs."""
UNSEEN_AFTER = 3 * ABANDONED_AFTER
"""Seconds after which a job is abandoned if no server renews its `seen` key; a busy server may do so late."""
CONNECTIONS = 32
"""Maximum number of connections of a process. Others wait up to `POOL_TIMEOUT` seconds for a free one."""
POOL_TIMEOUT = 20
SOCKET_TIMEOUT = 5.0
"""Seconds after which a command without a reply fails. Older versions of redis-py would wait forever."""


@contextmanager
def redis_errors() -> Iterator[None]:
    """Convert Redis errors to `Unavailable`, and log the reason."""
    try:
        yield
    except redis.RedisError as error:
        # Without the failed command, which contains texts and job ids.
        reason = str(next(iter(error.args), "")).rpartition("caused error: ")[2] or type(error).__name__
        log_regularly(f"Redis: {reason.rstrip('.')}; trying again")
        raise Unavailable("Redis is not responding: try again later") from error


def pool(kind: Any, url: str, retry: Any) -> Any:
    """Return a pool of connections to Redis. Raise `MinicharError` if the URL is invalid.

    If the pool had no limit, each thread or task would hold its own connection. With redis-py's default
    pool, they would get an error instead of waiting when the limit is reached.
    """
    try:
        return kind.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=POOL_TIMEOUT,
            socket_timeout=SOCKET_TIMEOUT,
            retry=retry,
            decode_responses=True,
            protocol=2,  # the newer protocol has other types of replies
        )
    except ValueError:  # the error message may contain the password
        raise MinicharError("invalid Redis URL: it must have the form redis://HOST:PORT/DATABASE") from None


def key(kind: str, name: str) -> str:
    """Return a Redis key."""
    return f"{NAMESPACE}:{kind}:{name}"


WORKERS = f"{NAMESPACE}:workers"


def milliseconds(seconds: float) -> int:
    """Convert seconds to the unit of expiry times."""
    return int(1000 * seconds)


def dump(update: Update) -> dict[str, str]:
    """Return the fields of a stream entry for an update."""
    return {"update": json.dumps(update.dump())}


def parse(fields: dict[str, str]) -> Update:
    """Restore an update from the fields of a stream entry."""
    return Update.load(json.loads(fields["update"]))
