"""Cut a text into chunks for truncated backpropagation through time.

The text is laid out as B streams. Each stream is a contiguous stretch of it, and a chunk is the next T
characters of every stream::

    stream 0   t h e   q u | i c k   b r | ...
    stream 1   o v e r   t | h e   l a z | ...
               chunk 0       chunk 1

The hidden state at the end of one chunk is therefore the right state to start the next one from.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor, isfinite

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minichar.errors import MinicharError

MIN_T = 8  # a short text does not reduce T below this: shorter chunks give gradients too little context
MAX_N = 1 << 62  # an upper bound on the length of any text


@dataclass(frozen=True, eq=False)
class Chunks:
    """A sequence of n chunks. Iterating over it starts at the beginning of the streams.

    Parameters
    ----------
    streams : ndarray of int, shape (B, n·T + 1)
        Row b is stream b followed by one more character, the last target.
    T : int
        Time steps per chunk.
    """

    streams: NDArray[np.integer]
    T: int

    def __len__(self) -> int:
        return max(self.streams.shape[1] - 1, 0) // self.T

    def __iter__(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the inputs and the targets of chunk k.

        Returns
        -------
        inputs, targets : ndarray of intp, shape (T, B), contiguous
            New arrays. `targets` are the inputs shifted by one character. Column b continues
            column b of chunk k - 1.

        Raises
        ------
        IndexError
            If k is not in 0..n-1.
        """
        if not 0 <= k < len(self):
            raise IndexError(f"chunk {k} is out of range for {len(self)} chunks")
        window = self.streams[:, k * self.T : (k + 1) * self.T + 1].T  # (T+1, B)
        inputs = np.array(window[:-1], np.intp, order="C")  # (T, B)
        targets = np.array(window[1:], np.intp, order="C")  # (T, B)
        return inputs, targets


@dataclass(frozen=True, eq=False)
class Split:
    """A text divided into training, validation and test chunks.

    Attributes
    ----------
    train, val, test : Chunks
    B, T : int
        The sizes in use. A short text makes them smaller than requested.
    how : {"columns", "tail"}
        How the text was split; see `split_text`.
    notes : tuple of str
        Messages for the user, such as a reduced batch size.
    """

    train: Chunks
    val: Chunks
    test: Chunks
    B: int
    T: int
    how: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Shares:
    """The fractions of a text that go to train, val and test."""

    train: Fraction
    val: Fraction
    how: str

    def of(self, total: int) -> tuple[int, int, int]:
        """Return how many of `total` items each part gets. Without a test part, val gets the remainder."""
        train = floor(total * self.train)
        val = total - train if self.train + self.val == 1 else floor(total * self.val)
        return train, val, total - train - val

    def fit(self, N: int, B: int, T: int) -> bool:
        """Return whether N characters give train, and val unless its share is 0, at least one chunk."""
        if self.how == "columns":
            train, val, _ = self.of(_count_chunks(N, B, T))
        else:
            train, val, _ = (_count_chunks(size, B, T) for size in self.of(N))
        return train > 0 and (val > 0 or self.val == 0)


def split_text(
    ids: NDArray[np.integer],
    B: int,
    T: int,
    train_frac: float = 0.95,
    val_frac: float = 0.05,
    how: str = "columns",
) -> Split:
    """Divide a text into training, validation and test chunks.

    ``columns`` is char-rnn's split: the whole text is laid out as B streams, then the chunks are
    divided, training first, validation next, test last. Every part contains a piece of each stream, so
    validation text is close to training text. ``tail`` divides the text itself: validation and test
    are its end, and each part is laid out as B streams of its own. Losses measured on different splits
    are not comparable.

    Parameters
    ----------
    ids : ndarray of int, shape (N,)
        The text. The chunks are views of it, not copies.
    B, T : int
        Sequences per batch and time steps per chunk. If the text is too short to give train, and val
        unless `val_frac` is 0, at least one chunk, B is halved down to 1, then T down to `MIN_T`.
    train_frac, val_frac : float
        Shares of the text, exact to a millionth. They sum to at most 1; the rest is the test part.
    how : {"columns", "tail"}

    Raises
    ------
    MinicharError
        If an argument is out of range, or the text is too short even for B = 1 and T = `MIN_T`.
    """
    shares = _check_shares(train_frac, val_frac, how)
    if B < 1 or T < 1:
        raise MinicharError(f"batch size {B} and sequence length {T}: both must be 1 or more")
    N, asked = len(ids), (B, T)
    while not shares.fit(N, B, T):
        if B > 1:
            B //= 2
        elif T > MIN_T:
            T = max(T // 2, MIN_T)
        else:
            needed = bisect_left(range(MAX_N), True, key=lambda size: shares.fit(size, B, T))
            raise MinicharError(
                f"the text has {N:,} characters, too few for a training and a validation chunk: "
                f"use at least {needed:,}"
            )
    lay_out = _columns if how == "columns" else _tail
    train, val, test = lay_out(ids, B, T, shares)
    notes = []
    if asked != (B, T):
        notes.append(
            f"{N:,} characters are too few for batch size {asked[0]} and sequence length {asked[1]}: "
            f"using {B} and {T} instead"
        )
    return Split(train, val, test, B=B, T=T, how=how, notes=tuple(notes))


def _check_shares(train_frac: float, val_frac: float, how: str) -> _Shares:
    if how not in ("columns", "tail"):
        raise MinicharError(f"unknown split {how!r}: use 'columns' or 'tail'")
    if not (isfinite(train_frac) and isfinite(val_frac)):
        raise MinicharError(f"train share {train_frac} and validation share {val_frac}: both must be finite")
    # In floating point 0.29 * 100 is below 29 and 0.95 + (1 - 0.95) is above 1. Fractions are exact.
    train, val = (Fraction(share).limit_denominator(1_000_000) for share in (train_frac, val_frac))
    if train <= 0 or val < 0 or train + val > 1:
        raise MinicharError(
            f"train share {train_frac} and validation share {val_frac}: the first must be above 0, "
            "the second at least 0, and their sum at most 1"
        )
    return _Shares(train, val, how)


def _count_chunks(N: int, B: int, T: int) -> int:
    """Return the number of chunks in N characters. The last character can only be a target."""
    return max(N - 1, 0) // (B * T)


def _streams(ids: NDArray[np.integer], B: int, T: int) -> NDArray[np.integer]:
    """Return a view of shape (B, n·T + 1): B streams, each with the character that follows it."""
    length = _count_chunks(len(ids), B, T) * T
    if not length:
        return ids[:0].reshape(B, 0)  # (B, 0)
    return sliding_window_view(ids[: B * length + 1], length + 1)[::length]  # (B, n·T + 1)


def _columns(ids: NDArray[np.integer], B: int, T: int, shares: _Shares) -> list[Chunks]:
    streams = _streams(ids, B, T)
    parts, start = [], 0
    for n in shares.of(_count_chunks(len(ids), B, T)):
        parts.append(Chunks(streams[:, start : start + n * T + 1], T))
        start += n * T
    return parts


def _tail(ids: NDArray[np.integer], B: int, T: int, shares: _Shares) -> list[Chunks]:
    parts, start = [], 0
    for size in shares.of(len(ids)):
        parts.append(Chunks(_streams(ids[start : start + size], B, T), T))
        start += size
    return parts
