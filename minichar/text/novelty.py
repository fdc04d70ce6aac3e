"""Measure how much a text shares with a training text.

    shared run      consecutive characters of the text that also occur consecutively in the training text
    longest run     a shared run of maximum length
    copied          the number of characters that are in any shared run of more than `LONG` characters

A character is in such a run if and only if it is in a window of `LONG` + 1 characters that occurs in the
training text, so one search for all windows of this length gives `copied`. Bisection gives the length of the
longest run: it is at least n if and only if a window of n characters occurs in the training text. A search
compares hashes of windows. The hash of n characters combines two hashes of m, the largest power of 2 below n.
With a random odd number K for each search, modulo 2⁶⁴:

    h₁[i] = character i + K
    hₙ[i] = a ⊕ ⌊a / 2³²⌋,  a = K hₘ[i] + hₘ[i + n − m]

Equal windows have equal hashes, so a search misses no shared window. Windows that it finds are compared with
the training text, and after a hash collision the search is repeated with another K. The results are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minichar.text.mapping import blocks

LONG = 20
"""Any two texts of the same kind share many runs of up to this number of characters."""


@dataclass(frozen=True)
class Novelty:
    """What a text shares with a training text.

    ``text[start : start + length]`` is a longest run; there can be several. `copied` is the number
    of characters in shared runs of more than `LONG` characters.
    """

    start: int
    length: int
    copied: int


def measure_novelty(text: NDArray[np.integer], training: NDArray[np.integer]) -> Novelty:
    """Return what a text, ``(M,)``, shares with a training text, ``(N,)``.

    The characters of both texts are non-negative ids with the same meaning. The time is proportional to the
    length of `training`: usually 1 to 6 searches, each of which takes about 0.1 s per million characters. The
    memory use is about 25 MB plus 45 bytes per character of `text`, even if `training` is memory-mapped.
    """
    rng, n = np.random.default_rng(0), LONG + 1
    i, j = _search(text, training, n, rng)
    while not all(np.array_equal(text[i + k], training[j + k]) for k in range(n)):  # a hash collision
        i, j = _search(text, training, n, rng)
    copied = int(np.minimum(np.diff(i, append=len(text)), n).sum())

    start, low, high = 0, 0, min(len(text), len(training))  # low ≤ length of the longest run ≤ high
    while True:
        if len(i):
            # A shared run of n + s − 1 characters is a stretch of s consecutive windows.
            first = np.flatnonzero(np.diff(i, prepend=-2) > 1)  # (stretches,)
            sizes = np.diff(first, append=len(i))  # (stretches,)
            k = first[sizes.argmax()]
            high = min(high, n + int(sizes.max()) - 1)
            if (length := _common(text[i[k] :], training[j[k] :])) > low:  # not after a hash collision
                start, low = int(i[k]), length
        else:
            high = min(high, n - 1)
        if low == high:
            return Novelty(start, low, copied)
        n = (low + high + 1) // 2
        i, j = _search(text, training, n, rng)


def _search(
    text: NDArray[np.integer], training: NDArray[np.integer], n: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find all windows of n ids of `text` with the hash of a window of `training`.

    Return their positions in `text`, in ascending order, and a position in `training` for each, ``(found,)``.
    """
    K = rng.integers(1 << 63, dtype=np.uint64) | np.uint64(1)
    hashes = _hashes(text, n, K)  # (M - n + 1,)
    at = np.full(len(hashes), -1)  # (M - n + 1,)
    start = 0
    for ids in blocks(training, overlap=n - 1):
        block = _hashes(ids, n, K)  # (at most BLOCK,)
        order = np.argsort(block, kind="stable")  # (at most BLOCK,)
        block = block[order]
        k = np.searchsorted(block, hashes).clip(max=len(block) - 1)  # (M - n + 1,)
        found = block[k] == hashes  # (M - n + 1,)
        at[found] = start + order[k[found]]
        start += len(block)
    i = np.flatnonzero(at >= 0)  # (found,)
    return i, at[i]


def _hashes(ids: NDArray[np.integer], n: int, K: np.uint64) -> NDArray[np.uint64]:
    """Return the hash of every window of n ids, ``(N - n + 1,)``."""
    h, m = ids.astype(np.uint64) + K, 1  # (N,)
    while m < n:
        shift = min(m, n - m)
        h = h[: max(len(h) - shift, 0)] * K + h[shift:]  # (N - m - shift + 1,)
        h ^= h >> np.uint64(32)
        m += shift
    return h


def _common(a: NDArray[np.integer], b: NDArray[np.integer]) -> int:
    """Return the length of the common prefix."""
    size = min(len(a), len(b))
    different = np.flatnonzero(a[:size] != b[:size])  # (mismatches,)
    return int(different[0]) if len(different) else size
