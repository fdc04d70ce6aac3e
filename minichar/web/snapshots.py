"""Save snapshots of recent texts so that jobs can resume from them.

    key_p         a hash of the model's name, the prompt, the settings, and the branches before p
    snapshot_p    characters p-1000 to p-1, and the state of the stream after them
                                                                            p = 1000, 2000, …

A client can ask for the text from a given position onwards, for example when the user chooses a different
character there. Without snapshots, all of the preceding text would have to be generated again.

A text can be resumed only up to its first missing snapshot. When memory runs out, the last snapshot of the
least recently used text is therefore removed first.
"""

import json
import threading
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import takewhile
from typing import Any, Self

import numpy as np

from minichar.sampling.streams import State
from minichar.web.job import Job
from minichar.web.request import Request

INTERVAL = 1000
"""Number of characters between consecutive snapshots."""
MEMORY = 4 * 2**20
"""Memory budget of a store of snapshots, in bytes."""


@dataclass(frozen=True)
class Snapshot:
    """The last `INTERVAL` characters of a text, and the state of its stream after them."""

    text: str
    state: State

    @property
    def size(self) -> int:
        """Approximate memory use, in bytes."""
        return 4 * len(self.text) + self.state.layers.nbytes

    @classmethod
    def load(cls, serialized: str) -> Self:
        """Restore a snapshot serialised by `dump`."""
        text, shape, layers, length, pending, recent = json.loads(serialized)
        values = np.frombuffer(b64decode(layers), "<f8").reshape(shape)  # (L, S, H)
        return cls(text, State(values, length, tuple(pending), tuple(recent)))

    def dump(self) -> str:
        """Serialise the snapshot to JSON."""
        state = self.state
        layers = b64encode(state.layers.astype("<f8").tobytes()).decode()
        return json.dumps((self.text, state.layers.shape, layers, state.length, state.pending, state.recent))


class Snapshots(ABC):
    """A thread-safe store of snapshots.

    The methods take the keys of a text, as returned by `keys_of`.
    """

    @abstractmethod
    def put(self, keys: Sequence[str], snapshot: Snapshot) -> None:
        """Store a snapshot under the last key. The least recently used snapshots may be evicted."""

    @abstractmethod
    def get(self, keys: Sequence[str]) -> list[Snapshot]:
        """Return the snapshots with these keys, up to the first one that is missing."""

    def add(self, job: Job, state: State) -> None:
        """Store a snapshot of a job, taken at a multiple of `INTERVAL` characters.

        A job that continues another worker's text is skipped, because this worker might have generated
        different text.
        """
        if not job.published:
            text = job.generated[state.length - INTERVAL : state.length]
            self.put(keys_of(job.request, state.length), Snapshot(text, state))

    def resume(self, job: Job) -> None:
        """Start a new job from the last suitable snapshot, if any, of the text the client already has."""
        last = min(job.known, job.request.length - 1)
        found = self.get(keys_of(job.request, last)) if last >= INTERVAL else []
        text = "".join(snapshot.text for snapshot in found)
        if found and text[: len(job.published)] == job.published[: len(text)]:
            job.resume(text, found[-1].state)


class LocalSnapshots(Snapshots):
    """In-memory snapshots, local to this process."""

    def __init__(self) -> None:
        self._kept: dict[str, Snapshot] = {}  # in eviction order
        self._size = 0
        self._lock = threading.Lock()

    def put(self, keys: Sequence[str], snapshot: Snapshot) -> None:
        """Store a snapshot under the last key, then evict snapshots as needed to stay within the budget."""
        with self._lock:
            if not all(key in self._kept for key in keys[:-1]):
                return  # no job could resume from this snapshot
            replaced = self._kept.get(keys[-1])
            self._kept[keys[-1]] = snapshot
            self._size += snapshot.size - (replaced.size if replaced else 0)
            touch(self._kept, keys)
            while self._size > MEMORY:
                self._size -= self._kept.pop(next(iter(self._kept))).size

    def get(self, keys: Sequence[str]) -> list[Snapshot]:
        """Return the snapshots with these keys, up to the first one that is missing."""
        with self._lock:
            touch(self._kept, keys)
            return [self._kept[key] for key in takewhile(self._kept.__contains__, keys)]


def touch(kept: dict[str, Any], keys: Sequence[str]) -> None:
    """Move the keys of a text, last key first, to the end of `kept`, which is in eviction order."""
    for key in reversed(keys):
        if key in kept:
            kept[key] = kept.pop(key)


def keys_of(request: Request, length: int) -> list[str]:
    """Return a key for each multiple of `INTERVAL` up to `length`.

    Each key identifies the text before the corresponding position, and depends only on the request fields
    that affect which characters are generated.
    """
    same = replace(request, branches=(), length=0, start=0, stop=(), alternatives=False)
    base = sha256(same.dump().encode())
    keys = []
    for position in range(INTERVAL, length + 1, INTERVAL):
        digest = base.copy()
        digest.update(repr((position, [b for b in request.branches if b[0] < position])).encode())
        keys.append(digest.hexdigest())
    return keys
