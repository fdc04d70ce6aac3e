r"""Find where documents start in a text, so that the state can be reset there.

A separator, such as a blank line, ends one document and starts the next. The state is reset to zero
before the last character of the separator, so this character acts as a start token::

    text          o  n  e \n \n  t  w  o    separator \n\n
    state_mask    1  1  1  1  0  1  1  1    h ← state_mask ∘ h before each character

The first character of a document is predicted only from the last character of the separator, never from the
previous document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minichar.checks import checked
from minichar.errors import MinicharError, Option, brief
from minichar.text.mapping import blocks
from minichar.text.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Resets:
    """The positions where the state is reset in B streams of text.

    The positions of the separators are not stored, because they could take more memory than the text. Each
    chunk is searched when it is used.
    """

    ids: NDArray[np.integer]  # (N,), the encoded text
    separator: NDArray[np.integer]  # (m,), the ids of the separator; can be empty
    starts: NDArray[np.intp]  # (F,), additional positions where the state is reset, in ascending order
    origins: NDArray[np.intp]  # (B,), the position of the first character of each stream

    def state_mask(self, start: int, n: int) -> NDArray[np.bool_]:
        """Return the state mask ``(n, B)`` for `n` characters of each stream, beginning at offset `start`.

        It is False where the state is reset before the character is read.
        """
        first = self.origins + start  # (B,)
        state_mask = np.ones((n, len(first)), bool)  # (n, B)
        if m := len(self.separator):
            positions = first + np.arange(1 - m, n)[:, None]  # (m-1+n, B)
            ends = _ends(self.ids.take(positions, mode="clip"), self.separator)  # (n, B)
            # Ignore matches before position m - 1, where "clip" repeats the first character.
            state_mask = ~ends | (positions[m - 1 :] < m - 1)
        low, high = np.searchsorted(self.starts, [first, first + n])  # (B,) each
        for b in np.flatnonzero(low < high):
            state_mask[self.starts[low[b] : high[b]] - first[b], b] = False
        return state_mask

    def at(self, origins: NDArray[np.intp]) -> Resets:
        """Return the resets for streams that start at `origins` in the same text."""
        return replace(self, origins=origins)

    def count(self) -> int:
        """Return the number of resets in the whole text."""
        only_separators = replace(self, starts=self.starts[:0], origins=self.starts)
        kept = np.count_nonzero(only_separators.state_mask(0, 1))  # starts where no separator ends
        return int(sum(count_separators(self.ids, self.separator)) + kept)


def separator_ids(separator: str, vocabulary: Vocabulary) -> NDArray[np.unsignedinteger]:
    """Return the ids of a separator, ``(m,)``. Raises a `MinicharError` if it contains other characters."""
    checked("reset_on", separator, str)
    if missing := [character for character in separator if character not in vocabulary]:
        what = f" is {brief(separator)}, but {missing[0]!r} is not in the vocabulary"
        if vocabulary.unknown:  # the character may occur in the text
            what += " (absent from the text or too rare): choose a string that occurs more often, or lower "
            raise MinicharError(Option("reset_on"), what, Option("min_freq"))
        raise MinicharError(Option("reset_on"), what, ": choose a string that occurs in the text")
    return vocabulary.encode(separator)


def count_separators(ids: NDArray[np.integer], separator: NDArray[np.integer]) -> Iterator[int]:
    """Yield how often the separator, ``(m,)`` ids, occurs in each block of text; it can overlap itself."""
    if m := len(separator):
        for block in blocks(ids, overlap=m - 1):
            yield int(np.count_nonzero(_ends(block, separator)))


def _ends(ids: NDArray[np.integer], separator: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return whether a separator of length m ends at each position after the first m - 1, along axis 0."""
    n = len(ids) - len(separator) + 1
    ends = ids[:n] == separator[0]
    for j in range(1, len(separator)):
        ends &= ids[j : j + n] == separator[j]
    return ends


def find_resets(
    ids: NDArray[np.integer], separator: NDArray[np.integer], starts: ArrayLike = ()
) -> Resets | None:
    """Return where the state is reset when the ids, ``(N,)``, are read as one stream (B = 1).

    The separator, ``(m,)`` ids, can be empty. `starts` contains additional positions where the state is
    reset, such as the start of each file. Return None if the state is never reset.
    """
    starts = np.unique(np.asarray(starts, np.intp))  # (F,)
    resets = Resets(ids, separator, starts, origins=np.zeros(1, np.intp))
    return resets if len(starts) or any(count_separators(ids, separator)) else None
