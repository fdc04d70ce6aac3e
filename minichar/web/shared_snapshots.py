"""Snapshots in Redis, from which every worker can resume jobs."""

from collections import deque
from collections.abc import Sequence

import redis

from minichar.web.snapshots import MEMORY, Snapshot, Snapshots
from minichar.web.store import Store


class SharedSnapshots(Snapshots):
    """Snapshots that workers share.

    They are only a cache, so an error does no harm: the text is generated again.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new: deque[tuple[str, str]] = deque()
        self._sizes: dict[str, int] = {}  # of the snapshots that this worker has stored, oldest first

    def put(self, key: str, snapshot: Snapshot) -> None:
        """Store a snapshot at the next call of `publish`, so that generation does not wait for Redis."""
        self._new.append((key, snapshot.dump()))

    def get(self, keys: Sequence[str]) -> list[Snapshot]:
        """Return the snapshots with these keys, up to the first one that is missing."""
        try:
            texts = self._store.snapshots(keys)
        except redis.RedisError:
            return []
        found = []
        for text in texts:
            if text is None:
                break
            found.append(Snapshot.load(text))
        return found

    def publish(self) -> None:
        """Store new snapshots, and remove the oldest ones if those of this worker take up too much memory."""
        new = dict(self._new.popleft() for _ in range(len(self._new)))
        sizes = self._sizes | {key: len(text) for key, text in new.items()}
        excess, old = sum(sizes.values()) - MEMORY, []
        while excess > 0:
            old.append(next(iter(sizes)))
            excess -= sizes.pop(old[-1])
        if new:
            self._store.replace_snapshots(old, new)
        self._sizes = sizes
