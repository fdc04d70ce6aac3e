"""Save snapshots in Redis so that any worker can resume jobs from them."""

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

import redis

from minichar.web.snapshots import MEMORY, Snapshot, Snapshots, touch
from minichar.web.store import Store


class SharedSnapshots(Snapshots):
    """Snapshots that workers share.

    Shared snapshots are only a cache: if Redis does not respond or a snapshot cannot be read, the text is
    generated again.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new: deque[tuple[Sequence[str], str]] = deque()
        # The sizes of the snapshots that this worker has stored, in eviction order.
        self._sizes: dict[str, int] = {}
        self._lock = threading.Lock()

    def put(self, keys: Sequence[str], snapshot: Snapshot) -> None:
        """Queue a snapshot for `publish` to store, so that text generation does not wait for Redis."""
        with self._lock:
            self._new.append((keys, snapshot.dump()))
            while sum(len(text) for _, text in self._new) > MEMORY:  # Redis is not responding
                self._new.popleft()

    def get(self, keys: Sequence[str]) -> list[Snapshot]:
        """Return the snapshots with these keys, up to the first one that is missing."""
        found = []
        with suppress(redis.RedisError, ValueError, TypeError):
            for text in self._store.snapshots(keys):
                if text is None:
                    break
                found.append(Snapshot.load(text))
        with self._lock:
            touch(self._sizes, keys)
        return found

    def publish(self) -> None:
        """Store queued snapshots in Redis. Remove old ones if this worker's snapshots use too much memory."""
        with self._lock:
            waiting, self._new = self._new, deque()
            new: dict[str, str] = {}
            for keys, text in waiting:
                new[keys[-1]] = text
                self._sizes[keys[-1]] = len(text)
                touch(self._sizes, keys)
            old = []
            while sum(self._sizes.values()) > MEMORY:
                old.append(next(iter(self._sizes)))
                del self._sizes[old[-1]]
                new.pop(old[-1], None)
        if waiting:
            used = {key for keys, _ in waiting for key in keys}
            with suppress(redis.RedisError):  # snapshots that could not be removed will expire
                self._store.replace_snapshots(old, new, used)
