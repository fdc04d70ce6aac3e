"""The characters a model knows, each with an integer id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minichar.errors import MinicharError

CODE_POINTS = 0x110000  # how many code points Unicode has
PIECE = 1 << 20  # characters looked up at a time, so that a long text needs little memory
SHOWN = 5  # characters that an error message names before it says "and n more"


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code point of each character of `text`, lone surrogates included.

    Returns
    -------
    ndarray of uint32, shape (N,), read-only
    """
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")  # (N,)


def name_some(characters: Sequence[str], detail: Callable[[str], str]) -> str:
    """Name the first few of `characters` for an error message, `detail` saying where each one is."""
    named = [f"{c!r} (U+{ord(c):04X}) {detail(c)}" for c in characters[:SHOWN]]
    more = len(characters) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def positions(text: str, character: str) -> str:
    """Say where in `text` a character stands, the first few times."""
    found = [i for i, c in enumerate(text) if c == character]
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    plural = "s" if len(found) > 1 else ""
    return f"at position{plural} " + ", ".join(map(str, found[:SHOWN])) + more


@dataclass(frozen=True)
class Vocabulary:
    """The V ids of a model: one for each character and, if `unknown`, a last one for all others.

    Two vocabularies are equal when they give every character the same id.

    Parameters
    ----------
    characters : str
        The known characters in code-point order, each once; the id of a character is its index.
    unknown : bool
        Whether one more id, the last, stands for every other character.

    Raises
    ------
    MinicharError
        If `characters` is empty, out of order, or holds a character twice.
    """

    characters: str
    unknown: bool = False

    def __post_init__(self) -> None:
        if not self.characters:
            raise MinicharError("a vocabulary needs at least one character")
        points = code_points(self.characters)  # (V,)
        if np.any(points[1:] <= points[:-1]):
            raise MinicharError("the characters of a vocabulary must be in code-point order, each once")

    @classmethod
    def from_counts(cls, counts: ArrayLike, min_freq: int = 0) -> Vocabulary:
        """Keep the characters seen at least `min_freq` times.

        Parameters
        ----------
        counts : array of int, shape (0x110000,)
            How often each code point occurs.
        min_freq : int
            Rarer characters share the unknown id. With 0 every character seen is kept, and there is
            no unknown id.

        Raises
        ------
        MinicharError
            If `min_freq` is negative or so high that no character is left.
        """
        if min_freq < 0:
            raise MinicharError(f"min_freq is {min_freq}: it must be 0 or more")
        kept = np.flatnonzero(np.asarray(counts) >= max(min_freq, 1))
        if not kept.size:
            raise MinicharError(f"no character occurs {max(min_freq, 1)} times: lower min_freq or add text")
        return cls("".join(map(chr, kept)), unknown=min_freq > 0)

    @property
    def unknown_id(self) -> int | None:
        """The id that stands for every other character; None if there is none."""
        return len(self.characters) if self.unknown else None

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned integer type that holds V."""
        return np.min_scalar_type(len(self))

    def __len__(self) -> int:
        return len(self.characters) + self.unknown

    def __contains__(self, character: str) -> bool:
        return len(character) == 1 and character in self.characters

    def encode(self, text: str, unknown: str = "error") -> NDArray[np.unsignedinteger]:
        """Turn text into ids.

        Parameters
        ----------
        text : str
            N characters.
        unknown : {"error", "skip", "unk"}
            What becomes of a character that is not in the vocabulary: refuse the text, leave the
            character out, or give it the unknown id.

        Returns
        -------
        ndarray, shape (N,), or shorter where characters were skipped
            Of type `dtype`.

        Raises
        ------
        MinicharError
            If a character is missing and `unknown` is "error"; if `unknown` is "unk" and the
            vocabulary has no unknown id; if `unknown` is none of the three.
        """
        if unknown not in ("error", "skip", "unk"):
            raise MinicharError(f"unknown is {unknown!r}: it must be 'error', 'skip' or 'unk'")
        if unknown == "unk" and not self.unknown:
            raise MinicharError("this vocabulary has no id for unknown characters: use 'skip' or 'error'")
        ids = np.empty(len(text), self.dtype)  # (N,)
        for start in range(0, len(text), PIECE):
            stop = start + PIECE
            np.take(self._table, code_points(text[start:stop]), out=ids[start:stop], mode="clip")
        missing = ids == len(self)  # (N,)
        if not missing.any():
            return ids
        if unknown == "skip":
            return ids[~missing]
        if unknown == "unk":
            ids[missing] = self.unknown_id
            return ids
        missing_characters = sorted(set(text) - set(self.characters), key=text.index)
        named = name_some(missing_characters, lambda c: positions(text, c))
        mends = "skip or unk" if self.unknown else "skip"
        raise MinicharError(f"not in the vocabulary: {named}; leave them out, or give --unknown {mends}")

    def decode(self, ids: ArrayLike) -> str:
        """Turn ids back into text; the unknown id becomes U+FFFD, the replacement character.

        Parameters
        ----------
        ids : array of int, any shape, read in C order

        Raises
        ------
        IndexError
            If an id is negative, or V or more.
        """
        indices = np.asarray(ids, dtype=np.intp).ravel()  # (N,)
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"an id is outside 0..{len(self) - 1}")
        points = code_points(self.characters + "\ufffd" * self.unknown)  # (V,)
        return points[indices].tobytes().decode("utf-32-le", "surrogatepass")

    @cached_property
    def _table(self) -> NDArray[np.unsignedinteger]:
        """The id of every code point, or V, which is no id, where there is none; shape (0x110000,)."""
        table = np.full(CODE_POINTS, len(self), self.dtype)  # (0x110000,)
        table[code_points(self.characters)] = np.arange(len(self.characters))
        return table
