"""Split encoded text into chunks for truncated backpropagation through time.

The text is laid out as B streams. Each stream is a contiguous section of the text, and a chunk contains the
next T characters of every stream::

    stream 0   t h e   q u | i c k   b r | ...
    stream 1   o v e r   t | h e   l a z | ...
               chunk 0       chunk 1

The hidden state at the end of a chunk is therefore the correct initial state for the next chunk.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import floor, isfinite
from sys import maxsize
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from minichar.errors import MinicharError, Option, counted
from minichar.text.mapping import release
from minichar.text.resets import Resets

MIN_T = 8  # lower limit when T is reduced for a short text: gradients need some context
RELEASE = 1 << 24  # release memory-mapped pages after this many bytes of ids


@dataclass(frozen=True, eq=False)
class Chunks:
    """A sequence of n chunks. Iteration always starts at the first chunk."""

    streams: NDArray[np.integer]  # (B, n·T + 1), row b contains stream b, followed by the last target
    T: int  # number of time steps per chunk
    resets: Resets | None = None  # positions in the B streams where the state is reset

    def __len__(self) -> int:
        return max(self.streams.shape[1] - 1, 0) // self.T

    def of(self, streams: slice) -> Chunks:
        """Return the same chunks, restricted to some of the streams."""
        resets = self.resets and self.resets.at(self.resets.origins[streams])
        return Chunks(self.streams[streams], self.T, resets)

    def part(self, start: int, n: int) -> Chunks:
        """Return at most n chunks, starting with chunk `start`."""
        first = start * self.T
        resets = self.resets and self.resets.at(self.resets.origins + first)
        return Chunks(self.streams[:, first : first + n * self.T + 1], self.T, resets)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], ...]]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> tuple[NDArray[Any], ...]:
        """Return the inputs and targets of chunk k and, with `resets`, its state mask, each ``(T, B)``.

        Inputs and targets are new contiguous arrays of intp. `targets` contains the inputs shifted by one
        character. Column b continues column b of chunk k - 1. The mask is False where the state is reset
        before the input is read. Raises an `IndexError` if k is out of range.
        """
        if not 0 <= k < len(self):
            raise IndexError(f"chunk {k} is out of range for {len(self)} chunks")
        window = self.streams[:, k * self.T : (k + 1) * self.T + 1].T  # (T+1, B)
        inputs = np.array(window[:-1], np.intp, order="C")  # (T, B)
        targets = np.array(window[1:], np.intp, order="C")  # (T, B)
        if k * window.nbytes % RELEASE < window.nbytes:
            release(self.streams)
        if self.resets is None:
            return inputs, targets
        return inputs, targets, self.resets.state_mask(k * self.T, self.T)


@dataclass(frozen=True, eq=False)
class Layout:
    """The sizes of the chunks of a text, which depend only on its length.

    Attributes
    ----------
    B, T : int
        The batch size and the sequence length, after any reduction for a short text.
    how : {"columns", "tail", "files"}
        The split method; see `split_text`. "files" means that training and validation texts are separate.
    parts : tuple of int
        The numbers of training, validation and test chunks.
    left_out : int
        Number of characters that are neither inputs nor targets in any chunk.
    notes : tuple of str
        Messages for the user, for example about a reduced batch size.
    """

    B: int
    T: int
    how: str
    parts: tuple[int, ...]
    left_out: int
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Split(Layout):
    """The training, validation and test chunks of a text, with their sizes."""

    train: Chunks
    val: Chunks
    test: Chunks


@dataclass(frozen=True)
class _Shares:
    """The fractions of the text used for training and validation. The rest of the text is the test split."""

    train: Fraction
    val: Fraction
    how: str

    def of(self, total: int) -> tuple[int, int, int]:
        """Return the size of each split. Without a test split, the validation split gets the remainder."""
        train = floor(total * self.train)
        val = total - train if self.train + self.val == 1 else floor(total * self.val)
        return train, val, total - train - val

    def chunks(self, N: int, B: int, T: int) -> tuple[int, ...]:
        """Return the number of chunks in each split of N characters."""
        if self.how == "columns":
            return self.of(_count_chunks(N, B, T))
        return tuple(_count_chunks(size, B, T) for size in self.of(N))

    def fit(self, N: int, B: int, T: int) -> bool:
        """Return whether N characters suffice for a training chunk and, if requested, a validation chunk."""
        train, val, _ = self.chunks(N, B, T)
        return train > 0 and (val > 0 or self.val == 0)


def split_text(
    ids: NDArray[np.integer],
    B: int,
    T: int,
    train_frac: float = 0.95,
    val_frac: float = 0.05,
    how: str = "columns",
    resets: Resets | None = None,
    name: str = "the text",
) -> Split:
    """Split encoded text into training, validation and test chunks.

    ``columns`` is char-rnn's split. The whole text is laid out as B streams, and its chunks are divided in
    order into training, validation and test chunks. Every split contains a section of each stream, so the
    validation text is interleaved with the training text. ``tail`` divides the text before laying it out: the
    validation and test splits are at the end, and each split is laid out as B separate streams. Losses
    measured with ``columns`` and ``tail`` are not comparable.

    Parameters
    ----------
    ids : ndarray of int, shape (N,)
        The encoded text. The streams are views of this array.
    B, T : int
        Batch size and number of time steps per chunk. If the text is too short for one training chunk
        and (unless `val_frac` is 0) one validation chunk, B is halved as often as necessary, down to 1. If
        that is not enough, T is halved in the same way, down to `MIN_T`.
    train_frac, val_frac : float
        Fractions of the text, accurate to 1e-6, whose sum is at most 1. The rest of the text is the test
        split.
    how : {"columns", "tail"}
    resets : Resets, optional
        Positions in the text where the state is reset (`find_resets`). With `resets`, each chunk also
        contains a state mask (`Resets.state_mask`).
    name : str
        The name to use in messages.

    Raises
    ------
    MinicharError
        If an argument is out of range, or the text is too short even for B = 1 and T = `MIN_T`.
    """
    N, sizes = len(ids), layout(len(ids), B, T, train_frac, val_frac, how, name)
    if how == "columns":
        whole = _lay_out(ids, 0, N, sizes.B, sizes.T, resets)
        parts = [whole.part(start, n) for start, n in _sections(sizes.parts)]
    else:
        sections = _sections(_check_shares(train_frac, val_frac, how).of(N))
        parts = [_lay_out(ids, start, n, sizes.B, sizes.T, resets) for start, n in sections]
    train, val, test = parts
    return Split(**vars(sizes), train=train, val=val, test=test)


def layout(
    N: int,
    B: int,
    T: int,
    train_frac: float = 0.95,
    val_frac: float = 0.05,
    how: str = "columns",
    name: str = "the text",
) -> Layout:
    """Return the sizes of the chunks into which `split_text` splits N characters."""
    shares = _check_shares(train_frac, val_frac, how)
    if B < 1 or T < 1:
        raise MinicharError(f"batch size {B} and sequence length {T}: both must be at least 1")
    asked = B, T
    while not shares.fit(N, B, T):
        if B > 1:
            B //= 2
        elif T > MIN_T:
            T = max(T // 2, MIN_T)
        else:
            needed = bisect_left(range(maxsize), True, key=lambda size: shares.fit(size, B, T))
            raise MinicharError(
                f"{name} has {counted(N, 'character')}, but one training "
                f"{'and one validation chunk need' if val_frac > 0 else 'chunk needs'} {needed:,}: "
                "use a longer text"
            )
    notes = []
    if asked != (B, T):
        sizes = ("batch size", asked[0], B), ("sequence length", asked[1], T)
        less = [f"the {size} from {old:,} to {new:,}" for size, old, new in sizes if old != new]
        notes.append(f"{name} has only {N:,} characters: reduced {' and '.join(less)}")
    chunks = shares.chunks(N, B, T)
    pieces = 1 if how == "columns" else sum(n > 0 for n in chunks)  # each has one extra target
    left_out = N - sum(chunks) * B * T - pieces
    return Layout(B, T, how, chunks, left_out, tuple(notes))


def _check_shares(train_frac: float, val_frac: float, how: str) -> _Shares:
    if how not in ("columns", "tail"):
        raise MinicharError(f"unknown split {how!r}: use 'columns' or 'tail'")
    given = (Option("train_frac"), f" is {train_frac} and ", Option("val_frac"), f" is {val_frac}: ")
    if not (isfinite(train_frac) and isfinite(val_frac)):
        raise MinicharError(*given, "both must be finite")
    # Use exact fractions: in floating point, 0.29 * 100 is less than 29.
    train, val = (Fraction(share).limit_denominator(1_000_000) for share in (train_frac, val_frac))
    if train <= 0 or val < 0 or train + val > 1:
        raise MinicharError(
            *given, "the first must be above 0, the second at least 0, and their sum at most 1"
        )
    return _Shares(train, val, how)


def _count_chunks(N: int, B: int, T: int) -> int:
    """Return the number of chunks in N characters. The last character is used only as a target."""
    return max(N - 1, 0) // (B * T)


def _sections(sizes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield the start and the size of consecutive sections."""
    return zip(accumulate(sizes, initial=0), sizes, strict=False)


def _lay_out(ids: NDArray[np.integer], start: int, N: int, B: int, T: int, resets: Resets | None) -> Chunks:
    """Lay out N characters, starting at position `start`, as B streams that are views of `ids`."""
    length = _count_chunks(N, B, T) * T
    resets = resets and resets.at(start + np.arange(B) * length)
    if not length:
        return Chunks(ids[:0].reshape(B, 0), T, resets)  # (B, 0)
    (step,), used = ids.strides, ids[start : start + B * length + 1]
    streams = as_strided(used, (B, length + 1), (length * step, step), writeable=False)  # (B, n·T + 1)
    return Chunks(streams, T, resets)
