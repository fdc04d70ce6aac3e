"""Join text files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from io import BytesIO, FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minichar.errors import MinicharError, Option, listed
from minichar.text.reading import Source
from minichar.text.vocabulary import CODE_POINTS, Vocabulary

SHOWN = 3
"""Maximum number of file names in a note."""


@dataclass(frozen=True, eq=False)
class Count:
    """The character counts of a text."""

    counts: NDArray[np.int64]  # (0x110000,), the number of occurrences of each code point
    starts: NDArray[np.int64]  # (F,), the position of the first character of each nonempty file
    N: int
    notes: tuple[str, ...]  # messages for the user about changes to the text and possible problems

    @property
    def distinct(self) -> int:
        """The number of distinct characters."""
        return int(np.count_nonzero(self.counts))


@dataclass(frozen=True)
class Text:
    """One or more text files, joined in order without separators. `name` is used in messages.

    A text in memory has no `files`. `stamps` contains the size in bytes and the modification time of each
    file, used to detect changes.
    """

    name: str
    sources: tuple[Source, ...]
    files: tuple[Path, ...] = ()
    stamps: tuple[tuple[int, int], ...] = ()

    @classmethod
    def from_files(cls, name: str, files: Sequence[Path], encoding: str) -> Text:
        """Create a `Text` from files. Raises a `MinicharError` if one does not exist."""
        sources = (Source(partial(FileIO, path), encoding, str(path)) for path in files)
        return cls(name, tuple(sources), tuple(files), _stamps(files))

    @classmethod
    def from_bytes(cls, name: str, raw: bytes, encoding: str) -> Text:
        """Create a `Text` from bytes in memory."""
        return cls(name, (Source(partial(BytesIO, raw), encoding, name),))

    @cached_property
    def digest(self) -> str:
        """The hex SHA-256 of the file's bytes or, for multiple files, of their concatenated digests."""
        digests = []
        for source in self.sources:
            sha256 = hashlib.sha256()
            for block in source.blocks():
                sha256.update(block)
            digests.append(sha256)
        if len(digests) == 1:
            return digests[0].hexdigest()
        return hashlib.sha256(b"".join(sha256.digest() for sha256 in digests)).hexdigest()

    def count(self) -> Count:
        """Count the occurrences of each character.

        Raises a `MinicharError` if a file cannot be read or decoded, a file contains NUL, or the text has
        fewer than two characters.
        """
        counts = np.zeros(CODE_POINTS, np.int64)  # (0x110000,)
        changes: Counter[str] = Counter()
        starts, empty, N = [0], [], 0
        for source in self.sources:
            try:
                N += source.count(counts, changes)
            except MinicharError as error:
                options = [part.name for part in error.args if isinstance(part, Option)]
                if len(self.sources) > 1 and "encoding" in options:
                    raise MinicharError(*error.args, "; all files must have the same encoding") from None
                raise
            if starts[-1] < N:
                starts.append(N)
            else:
                empty.append(Path(source.name).name)
        if N < 2:
            size_of = "has only one character" if N else "is empty"
            raise MinicharError(f"{self.name!r} {size_of}: choose a longer text")
        return Count(counts, np.array(starts[:-1], np.int64), N, tuple(_notes(changes, empty)))

    def encode(self, vocabulary: Vocabulary, N: int) -> Iterator[NDArray[np.unsignedinteger]]:
        """Yield the ids of the characters in order, in arrays with a total size of `N`.

        The vocabulary must contain all characters that were counted, or have an unknown token. Raises a
        `MinicharError` if a file cannot be read, or has changed since its characters were counted.
        """
        unknown = "unk" if vocabulary.unknown else "error"
        left = N
        for source in self.sources:
            for piece in source.pieces(Counter()):
                left -= len(piece)
                if left < 0:
                    raise self._changed()
                try:
                    ids = vocabulary.encode(piece, unknown)
                except MinicharError:  # a character that was not in the text when it was first read
                    raise self._changed() from None
                yield ids
        if left or _stamps(self.files) != self.stamps:
            raise self._changed()

    def _changed(self) -> MinicharError:
        return MinicharError(f"{self.name!r} changed while it was being read: try again")


def _stamps(files: Sequence[Path]) -> tuple[tuple[int, int], ...]:
    stamps = []
    for path in files:
        try:
            status = path.stat()
        except OSError as exc:
            raise MinicharError(f"cannot read {str(path)!r}: {exc.strerror}") from None
        stamps.append((status.st_size, status.st_mtime_ns))
    return tuple(stamps)


def _notes(changes: Counter[str], empty: Sequence[str]) -> Iterator[str]:
    """Yield messages for the user about changes to the text, possible problems and empty files."""
    if empty:
        named = listed([*map(repr, empty[:SHOWN])], len(empty))
        yield f"skipped empty file{'s' if len(empty) > 1 else ''} {named}"
    if marks := changes["BOM"]:
        yield "removed a byte-order mark" if marks == 1 else f"removed byte-order marks from {marks:,} files"
    if foreign := changes["UTF-8 BOM"]:
        what = "the text starts" if foreign == 1 else f"{foreign:,} files start"
        yield f"{what} with a UTF-8 byte-order mark: the encoding may be utf-8"
    if ends := " and ".join(f"{changes[end]:,} {end}" for end in ("CR LF", "CR") if changes[end]):
        yield f"converted {ends} line endings to LF"
