r"""Find where documents start in a text, so that the state can be reset there.

A separator, such as a blank line, ends one document and starts the next. The state is reset to zero
before the last character of the separator, so this character acts as a start token::

    text    o  n  e \n \n  t  w  o          separator \n\n
    keep    1  1  1  1  0  1  1  1          h ← keep ∘ h before each character

The first character of a document is predicted only from the last character of the separator, never from the
previous document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minichar.errors import MinicharError, Option, brief
from minichar.text.mapping import release
from minichar.text.vocabulary import Vocabulary

BLOCK = 1 << 20
"""Number of characters searched at a time, to limit memory use for long texts."""


@dataclass(frozen=True, eq=False)
class Resets:
    """The positions where the state is reset in B streams of text.

    Parameters
    ----------
    positions : ndarray of int64, shape (R,)
        Positions in the text, in ascending order. The state is reset before the character at each position.
    origins : ndarray of int64, shape (B,)
        Position of the first character of each stream.
    """

    positions: NDArray[np.int64]
    origins: NDArray[np.int64]

    def keep(self, start: int, n: int) -> NDArray[np.bool_]:
        """Return the keep mask for `n` characters of each stream, beginning at offset `start`.

        Returns
        -------
        ndarray of bool, shape (n, B)
            False where the state is reset before the character is read.
        """
        first = self.origins + start  # (B,)
        low, high = np.searchsorted(self.positions, [first, first + n])  # (B,) each
        keep = np.ones((n, len(first)), bool)  # (n, B)
        for b in np.flatnonzero(low < high):
            keep[self.positions[low[b] : high[b]] - first[b], b] = False
        return keep

    def at(self, origins: NDArray[np.int64]) -> Resets:
        """Return the resets for streams that start at `origins` in the same text."""
        return Resets(self.positions, origins)


def separator_ids(separator: str, vocabulary: Vocabulary) -> NDArray[np.unsignedinteger]:
    """Return the ids of a separator, ``(m,)``.

    Raises
    ------
    MinicharError
        If a character is not in the vocabulary, or the separator is not a string.
    """
    if not isinstance(separator, str):
        raise MinicharError(Option("reset_on"), f" is {brief(separator)}; it must be text")
    if missing := [character for character in separator if character not in vocabulary]:
        raise MinicharError(
            Option("reset_on"),
            f" is {brief(separator)}, but {missing[0]!r} is not in the vocabulary: "
            "choose a string that occurs in the text",
        )
    return vocabulary.encode(separator)


def find_separators(ids: NDArray[np.integer], separator: NDArray[np.integer]) -> Iterator[NDArray[np.int64]]:
    """Yield the position of the last character of each separator, in one array per block of text.

    Separators can overlap.

    Parameters
    ----------
    ids : ndarray of int, shape (N,)
        Encoded text.
    separator : ndarray of int, shape (m,)
        The ids of the separator, which must not be empty.
    """
    m = len(separator)
    for start in range(0, len(ids) - m + 1, BLOCK):
        block = ids[start : start + BLOCK + m - 1]
        ends = np.flatnonzero(block[m - 1 :] == separator[-1]) + m - 1  # candidates
        for back in range(1, m):
            ends = ends[block[ends - back] == separator[-1 - back]]
        release(ids)
        yield ends + start


def find_resets(
    ids: NDArray[np.integer], separator: NDArray[np.integer], starts: ArrayLike = ()
) -> Resets | None:
    """Find the positions where the state is reset when an encoded text is read as one stream.

    Parameters
    ----------
    ids : ndarray of int, shape (N,)
    separator : ndarray of int, shape (m,)
        The ids of the separator; can be empty.
    starts : array-like of int, shape (F,)
        Additional positions where the state is reset, such as the start of each file.

    Returns
    -------
    Resets or None
        The resets for one stream (B = 1), or None if the state is never reset.
    """
    separators = find_separators(ids, separator) if len(separator) else ()
    positions = np.concatenate([np.asarray(starts, np.int64), *separators])  # (R,)
    if np.size(starts):  # without `starts`, the positions are already sorted and distinct
        positions = np.unique(positions)
    return Resets(positions, origins=np.zeros(1, np.int64)) if len(positions) else None
