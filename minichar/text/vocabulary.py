"""Mapping between characters and integer ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from unicodedata import normalize

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minichar.checks import at_least, check, checked, wrong
from minichar.errors import MinicharError, Option, listed

CODE_POINTS = 0x110000  # the number of Unicode code points
PIECE = 1 << 20  # number of characters looked up at a time, to limit memory use for long texts
SHOWN = 5  # maximum number of characters listed in an error message
PLAIN = dict(zip("‘’“”–—−…", "''\"\"---.", strict=True))
"""Characters to type instead of those that word processors insert."""
FULL_WIDTH = 0xFEE0
"""Difference between the code points of a full-width character and its ASCII counterpart."""


def code_points(text: str) -> NDArray[np.intp]:
    """Return the code points of `text`, ``(N,)``, including lone surrogates.

    The dtype is intp because, on a 32-bit platform, NumPy before 2.2 does not convert unsigned integers to
    indices.
    """
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.intp)  # (N,)


def name_some(characters: Sequence[str], detail: Callable[[str], str]) -> str:
    """Return a phrase that lists the first few characters, each with ``detail(character)``."""
    return listed([f"{c!r} (U+{ord(c):04X}) {detail(c)}" for c in characters[:SHOWN]], len(characters))


def similar(character: str) -> str:
    """Return similar characters to try: typed ones, without accents, half-width or full-width."""
    full_width = chr(ord(character) + FULL_WIDTH) if "!" <= character <= "~" else ""
    return PLAIN.get(character, "") + normalize("NFKD", character)[:1] + full_width


def positions(text: str, character: str) -> str:
    """Return a phrase that lists the first few positions of a character in `text`, counted from 1."""
    found = [i for i, c in enumerate(text, start=1) if c == character]
    plural = "s" if len(found) > 1 else ""
    return f"at position{plural} " + listed([*map(str, found[:SHOWN])], len(found))


@dataclass(frozen=True)
class Vocabulary:
    """A mapping from characters to ids, with an optional unknown token.

    Vocabularies are equal if they map every character to the same id.

    Parameters
    ----------
    characters : str
        The known characters in code-point order, without duplicates. The id of a
        character is its index in this string.
    unknown : bool
        Whether the last id is the unknown token, which represents all other characters.

    Raises
    ------
    MinicharError
        If `characters` is not a string, is empty, is unsorted, or has duplicates.
    """

    characters: str
    unknown: bool = False

    def __post_init__(self) -> None:
        check(self)
        if not self.characters:
            raise MinicharError("a vocabulary needs at least one character")
        points = code_points(self.characters)  # (V,)
        if np.any(points[1:] <= points[:-1]):
            raise MinicharError("a vocabulary's characters must be in code-point order, without duplicates")

    @classmethod
    def from_counts(cls, counts: ArrayLike, min_freq: int = 0) -> Vocabulary:
        """Return the vocabulary of the characters that occur at least `min_freq` times.

        Parameters
        ----------
        counts : array of int, shape (0x110000,)
            The number of occurrences of each code point.
        min_freq : int
            Characters that occur less often are replaced with the unknown token. If 0, every character
            that occurs is kept, and there is no unknown token.

        Raises
        ------
        MinicharError
            If `min_freq` is negative or so high that no characters remain.
        """
        checked("min_freq", min_freq, int, at_least(0))
        kept = np.flatnonzero(np.asarray(counts) >= max(min_freq, 1))
        if not kept.size:
            raise MinicharError(
                f"no character occurs {max(min_freq, 1)} or more times: lower ",
                Option("min_freq"),
                " or add text",
            )
        return cls("".join(map(chr, kept)), unknown=min_freq > 0)

    @property
    def unknown_id(self) -> int | None:
        """The id of the unknown token, or None if the vocabulary has no unknown token."""
        return len(self.characters) if self.unknown else None

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest unsigned integer type that can represent the vocabulary size V."""
        return np.min_scalar_type(len(self))

    def __len__(self) -> int:
        return len(self.characters) + self.unknown

    def __contains__(self, character: str) -> bool:
        return len(character) == 1 and character in self.characters

    def encode(self, text: str, unknown: str = "error") -> NDArray[np.unsignedinteger]:
        """Return the ids of the characters in `text`.

        Parameters
        ----------
        text : str
            Text of length N.
        unknown : {"error", "skip", "unk"}
            How to handle a character that is not in the vocabulary: raise an error, omit the
            character, or use the unknown token.

        Returns
        -------
        ndarray of `dtype`, shape (N,), or shorter if characters were skipped

        Raises
        ------
        MinicharError
            If a character is missing and `unknown` is "error", if `unknown` is "unk" and the
            vocabulary has no unknown token, or if `unknown` has any other value.
        """
        if unknown not in ("error", "skip", "unk"):
            raise MinicharError(Option("unknown"), f" is {unknown!r}; it must be 'error', 'skip' or 'unk'")
        if unknown == "unk" and not self.unknown:
            raise MinicharError("the vocabulary has no unknown token: use ", Option("unknown", "skip"))
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
        remedy = self._remedy(missing_characters)
        raise MinicharError(
            f"some characters are not in the vocabulary: {named}; {remedy}, or use ",
            Option("unknown", "unk" if self.unknown else "skip"),
        )

    def _remedy(self, missing: Sequence[str]) -> str:
        """Return advice that names characters to write instead of the missing ones, where there are any."""
        found = {c: next((each for each in similar(c) if each in self.characters), "") for c in missing}
        instead = [f"{other!r} instead of {c!r}" for c, other in found.items() if other]
        if not instead:
            return "remove them"
        rest = ", remove the others" if len(instead) < len(missing) else ""
        return f"write {listed(instead[:SHOWN], len(instead))}{rest}"

    def decode(self, ids: ArrayLike) -> str:
        """Return the text for `ids`. The unknown token becomes U+FFFD, the replacement character.

        Parameters
        ----------
        ids : array of int
            An array of any shape, read in C order.

        Raises
        ------
        IndexError
            If an id is outside [0, V).
        """
        indices = np.asarray(ids, dtype=np.intp).ravel()  # (N,)
        if indices.size and (np.min(indices) < 0 or np.max(indices) >= len(self)):
            raise IndexError(f"ids must be in 0..{len(self) - 1}")
        points = code_points(self.characters + "\ufffd" * self.unknown).astype("<u4")  # (V,)
        return points[indices].tobytes().decode("utf-32-le", "surrogatepass")

    @cached_property
    def _table(self) -> NDArray[np.unsignedinteger]:
        """The id of each code point, shape (0x110000,); V for characters that are not in the vocabulary."""
        table = np.full(CODE_POINTS, len(self), self.dtype)  # (0x110000,)
        table[code_points(self.characters)] = np.arange(len(self.characters))
        return table


def checked_vocabulary(value: object) -> Vocabulary:
    """Return `value` if it is a `Vocabulary`; otherwise, raise an error about the argument ``vocabulary``."""
    if not isinstance(value, Vocabulary):
        raise wrong("vocabulary", value, "a Vocabulary")
    return value
