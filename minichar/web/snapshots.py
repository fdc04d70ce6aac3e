"""Snapshots of recent texts, from which jobs can resume.

    key_p         a hash of the model, the settings, and the branches before p        p = 1000, 2000, …
    snapshot_p    characters p-1000 to p-1, and the state of the stream after them

Without them, a reader who requests a text from a late position, for example after choosing a different
character there, would have to wait until all of the preceding text has been generated again.
"""

import json
import threading
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Self

import numpy as np

from minichar.sampling.streams import State
from minichar.web.job import Job
from minichar.web.request import Request

INTERVAL = 1000
"""Number of characters between consecutive snapshots."""
MEMORY = 4 * 2**20
"""Maximum memory use of the snapshots of a model, in bytes."""


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
    """A store of snapshots, used by several threads."""

    @abstractmethod
    def put(self, key: str, snapshot: Snapshot) -> None:
        """Store a snapshot. The least recently used ones may be removed."""

    @abstractmethod
    def get(self, keys: Sequence[str]) -> list[Snapshot]:
        """Return the snapshots with these keys, up to the first one that is missing."""

    def add(self, job: Job, state: State) -> None:
        """Store the text and the current state of a job, whose length is a multiple of `INTERVAL`."""
        text = job.generated[state.length - INTERVAL : state.length]
        self.put(key(job.request, state.length), Snapshot(text, state))

    def resume(self, job: Job) -> None:
        """Let a new job start from the last snapshot before the text that its readers need, if any."""
        last = min(job.known, job.request.length - 1)
        positions = range(INTERVAL, last + 1, INTERVAL)
        found = self.get([key(job.request, position) for position in positions])
        if found:
            job.resume("".join(snapshot.text for snapshot in found), found[-1].state)


class LocalSnapshots(Snapshots):
    """Snapshots in the memory of this process."""

    def __init__(self) -> None:
        self._kept: dict[str, Snapshot] = {}  # least recently used first
        self._size = 0
        self._lock = threading.Lock()

    def put(self, key: str, snapshot: Snapshot) -> None:
        """Store a snapshot, and remove the least recently used ones if they take up too much memory."""
        with self._lock:
            self._remove(key)
            self._kept[key] = snapshot
            self._size += snapshot.size
            while self._size > MEMORY:
                self._remove(next(iter(self._kept)))

    def get(self, keys: Sequence[str]) -> list[Snapshot]:
        """Return the snapshots with these keys, up to the first one that is missing."""
        found = []
        with self._lock:
            for key in keys:
                if key not in self._kept:
                    break
                found.append(self._kept.pop(key))
                self._kept[key] = found[-1]
        return found

    def _remove(self, key: str) -> None:
        if (removed := self._kept.pop(key, None)) is not None:
            self._size -= removed.size


def key(request: Request, position: int) -> str:
    """Return a string that identifies the first `position` characters of the text of a request.

    It does not depend on the fields that do not affect which characters are generated.
    """
    branches = tuple(branch for branch in request.branches if branch[0] < position)
    same = replace(request, branches=branches, length=position, start=0, stop=(), alternatives=False)
    return sha256(same.dump().encode()).hexdigest()
