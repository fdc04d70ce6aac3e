"""Data that servers and workers share in Redis.

    minichar:2:jobs:MODEL       a stream of the ids of waiting and running jobs; workers are a consumer group
    minichar:2:request:JOB      the request
    minichar:2:text:JOB         a stream of updates, in publication order
    minichar:2:seen:JOB         exists while the job has a reader
    minichar:2:cancelled:JOB    exists if the job was cancelled while it was not waiting
    minichar:2:worker:ID        the models of a worker, while it sends heartbeats
    minichar:2:workers          the ids of all workers, including some dead ones

All keys expire. Keys of other versions of this format are ignored: their jobs count as expired.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from minichar.errors import MinicharError
from minichar.web.errors import Unavailable
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
LOG_INTERVAL = 60.0
"""Minimum number of seconds between messages about the same problem."""

LOGGED: dict[str, float] = {}
"""Time of the last message about each problem, on the ``time.monotonic()`` clock."""


@contextmanager
def redis_errors() -> Iterator[None]:
    """Convert Redis errors to `Unavailable`, and log their reason."""
    try:
        yield
    except redis.RedisError as error:
        reason, now = reason_of(error), time.monotonic()
        if now - LOGGED.get(reason, -LOG_INTERVAL) >= LOG_INTERVAL:
            LOGGED[reason] = now
            logging.error("Redis: %s", reason)
        raise Unavailable("Redis is not responding: try again later") from error


def reason_of(error: redis.RedisError) -> str:
    """Return the reason of an error, without the failed command, which contains texts and job ids."""
    return str(error).rpartition("caused error: ")[2] or type(error).__name__


def pool(kind: Any, url: str, retry: Any) -> Any:
    """Return a pool of connections to Redis, of a class of redis-py.

    Without a limit on its connections, each thread or task would hold its own. With redis-py's default pool,
    they would get an error instead of waiting when the limit is reached.

    Raises
    ------
    MinicharError
        If the URL is invalid.
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


def problem(url: str) -> str | None:
    """Return the reason why Redis cannot be reached, or None if it can."""
    once = pool(redis.BlockingConnectionPool, url, Retry(NoBackoff(), 0))
    given, scheme = once.connection_kwargs, url.partition(":")[0]
    host = f"{given.get('host', 'localhost')}:{given.get('port', 6379)}/{given.get('db', 0)}"
    try:
        with redis.Redis.from_pool(once) as client:
            client.ping()
    except redis.RedisError as error:
        where = f"{scheme}://{given.get('path', host)}"
        return f"cannot connect to Redis at {where}: {reason_of(error)}"
    return None


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
