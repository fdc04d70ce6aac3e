"""Snapshots in Redis, from which every worker can resume jobs."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import redis

from minichar.web.snapshots import MEMORY, Snapshot, Snapshots, touch
from minichar.web.store import Store


class SharedSnapshots(Snapshots):
    """Snapshots that workers share.

    They are only a cache: without Redis, or if one cannot be read, the text is generated again.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new: deque[tuple[Sequence[str], str]] = deque()
        self._sizes: dict[
            str, int
        ] = {}  # of the snapshots that this worker has stored, in the order of removal

    def put(self, keys: Sequence[str], snapshot: Snapshot) -> None:
        """Store a snapshot at the next call of `publish`, so that generation does not wait for Redis."""
        text = snapshot.dump()
        self._new.append((keys, text))
        while len(self._new) * len(text) > MEMORY:  # Redis is not responding
            self._new.popleft()

    def get(self, keys: Sequence[str]) -> list[Snapshot]:
        """Return the snapshots with these keys, up to the first one that is missing."""
        found = []
        with suppress(redis.RedisError, ValueError, TypeError):
            for text in self._store.snapshots(keys):
                if text is None:
                    break
                found.append(Snapshot.load(text))
        return found

    def publish(self) -> None:
        """Store new snapshots, and remove others if those of this worker take up too much memory."""
        new: dict[str, str] = {}
        used: set[str] = set()
        for _ in range(len(self._new)):
            keys, text = self._new.popleft()
            new[keys[-1]] = text
            self._sizes[keys[-1]] = len(text)
            touch(self._sizes, keys)
            used.update(keys)
        old = []
        while sum(self._sizes.values()) > MEMORY:
            old.append(next(iter(self._sizes)))
            del self._sizes[old[-1]]
            new.pop(old[-1], None)
        with suppress(redis.RedisError):
            if new:
                self._store.replace_snapshots(old, new, used)
