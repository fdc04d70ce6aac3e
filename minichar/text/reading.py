"""Read and decode text files, with error messages that suggest a fix."""

from __future__ import annotations

import codecs
import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minichar.errors import MinicharError, Option
from minichar.text.datasets import DATASETS, dataset_path
from minichar.text.encodings import suggest
from minichar.text.vocabulary import CODE_POINTS, code_points

BINARY = "it looks like a binary file: choose a text file"
PIECE = 1 << 20  # bytes decoded at a time, because a str can take four times the size of its file
BOMS = {  # UTF-32 first, because its little-endian mark starts with the UTF-16 mark
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_file(data: Path) -> tuple[Path, bytes]:
    """Read a text file, or the ``input.txt`` in a directory, as bytes.

    Returns
    -------
    path : Path
        The file that was read.
    raw : bytes

    Raises
    ------
    MinicharError
        If the file does not exist, is not a regular file (files in ``/proc`` only appear to be), or
        cannot be read.
    """
    try:
        path = data / "input.txt" if data.is_dir() else data
        if path.is_file() and not Path(os.path.realpath(path)).is_relative_to("/proc"):
            return path, path.read_bytes()
        exists = path.exists()
    except OSError as exc:
        raise MinicharError(f"cannot read {str(data)!r}: {exc.strerror}") from None
    if exists:
        raise MinicharError(f"{str(path)!r} is not a regular file: copy its content to a regular file")
    if data.name in DATASETS and data == dataset_path(data.name).parent:
        raise MinicharError(f"{str(path)!r} does not exist: get it with `minichar data get {data.name}`")
    datasets = data.glob("*/input.txt") if data.is_dir() else ()
    if found := sorted(repr(str(text.parent)) for text in datasets):
        raise MinicharError(f"{str(path)!r} does not exist: choose {' or '.join(found)}")
    raise MinicharError(
        f"{str(path)!r} does not exist: choose a text file, or a directory that contains input.txt"
    )


def check_encoding(encoding: str) -> str:
    """Return Python's canonical name for a text encoding.

    Raises
    ------
    MinicharError
        If Python does not support this text encoding.
    """
    try:
        codecs.getincrementaldecoder(encoding)
        b"a".decode(encoding)
    except UnicodeDecodeError:  # for example utf-16, in which one byte is not a complete character
        pass
    except (LookupError, ValueError):
        raise MinicharError(f"unknown encoding {encoding!r}: try utf-8, gb18030 or cp1252") from None
    return codecs.lookup(encoding).name


@dataclass(frozen=True)
class Source:
    """The bytes of a text file, decoded anew on every pass.

    Attributes
    ----------
    raw : bytes
    encoding : str
        As returned by `check_encoding`.
    name : str
        The name to use in messages.
    """

    raw: bytes
    encoding: str
    name: str

    def pieces(self, changes: Counter[str]) -> Iterator[str]:
        """Yield the decoded text in order, without a byte-order mark and with LF line endings.

        Parameters
        ----------
        changes : Counter
            Counts the replacements under the keys "BOM", "CR LF" and "CR".

        Raises
        ------
        MinicharError
            If the bytes cannot be decoded.
        """
        decoder = codecs.getincrementaldecoder(self.encoding)()
        whole_line_ends = io.IncrementalNewlineDecoder(decoder, translate=False)
        at_start = True
        for start in range(0, len(self.raw), PIECE):
            block = self.raw[start : start + PIECE]
            stop = start + len(block)
            try:
                piece = whole_line_ends.decode(block, final=stop == len(self.raw))
            except UnicodeError as exc:
                raise self._undecodable(exc, stop) from None
            if at_start and piece.startswith("\ufeff"):
                changes["BOM"] += 1
                piece = piece[1:]
            at_start = at_start and not piece  # the UTF-7 decoder may buffer the first bytes
            if "\r" in piece:
                pairs = piece.count("\r\n")
                changes["CR LF"] += pairs
                changes["CR"] += piece.count("\r") - pairs
                piece = piece.replace("\r\n", "\n").replace("\r", "\n")
            yield piece

    def count(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Count the occurrences of each character.

        Returns
        -------
        counts : ndarray of int64, shape (0x110000,)
            The number of occurrences of each code point.
        notes : tuple of str
            Messages for the user about changes to the text and possible problems.

        Raises
        ------
        MinicharError
            If the bytes cannot be decoded, or the text contains NUL or is shorter than two characters.
        """
        counts = np.zeros(CODE_POINTS, np.int64)  # (0x110000,)
        changes: Counter[str] = Counter()
        for piece in self.pieces(changes):
            seen = np.bincount(code_points(piece))
            counts[: len(seen)] += seen
        if counts[0]:
            where = f"{self.name!r} contains NUL characters"
            raise self._suggestion(where, self.raw.find(0)) or MinicharError(f"{where}, so {BINARY}")
        if counts.sum() < 2:
            size = "has only one character" if counts.any() else "is empty"
            raise MinicharError(f"{self.name!r} {size}: at least two characters are needed")
        return counts, self._notes(changes)

    def _notes(self, changes: Counter[str]) -> tuple[str, ...]:
        # Some codecs, such as utf-16 and utf-8-sig, remove the mark themselves.
        marked = self.encoding.startswith("utf") and self.raw.startswith((codecs.BOM_UTF8, *BOMS))
        notes = ["removed a byte-order mark"] if marked or changes["BOM"] else []
        if ends := " and ".join(f"{changes[end]:,} {end}" for end in ("CR LF", "CR") if changes[end]):
            notes.append(f"converted {ends} line endings to LF")
        if self.raw[:1000].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            notes.append("the text looks like a web page: the model will learn the markup too")
        return tuple(notes)

    def _undecodable(self, exc: UnicodeError, stop: int) -> MinicharError:
        """Return the error for `exc`; `stop` is the end offset of the block being decoded."""
        option = Option("encoding")
        if not isinstance(exc, UnicodeDecodeError):  # for example utf-16 without a mark, before Python 3.13
            where = f"{self.name!r} is not {self.encoding} text ({exc})"
            unknown = MinicharError(f"{where}: set ", option, " to the correct encoding")
            return self._suggestion(where, 0) or unknown
        offset = stop - len(exc.object) + exc.start
        where = f"{self.name!r} is not {self.encoding} text at byte offset {offset:,} ({exc.reason})"
        wide = self.encoding.startswith(("utf-16", "utf-32"))
        bom = next((name for mark, name in BOMS.items() if self.raw.startswith(mark)), None)
        if bom and not wide:
            mark = f"the byte-order mark of UTF-{bom[-2:]}"
            return MinicharError(f"{where}: it starts with {mark}, so use ", Option("encoding", bom))
        if stop == len(self.raw) and exc.end == len(exc.object):
            return MinicharError(
                f"{where}, at its end: it may be truncated; get a complete copy, or try a different ", option
            )
        if suggestion := self._suggestion(where, offset):
            return suggestion
        if b"\0" in self.raw and not wide:
            return MinicharError(f"{where}: {BINARY}")
        return MinicharError(f"{where}: set ", option, " to the correct encoding")

    def _suggestion(self, where: str, offset: int) -> MinicharError | None:
        """Return the error that suggests other encodings, or None if none is plausible."""
        if not (found := suggest(self.raw, offset, self.encoding)):
            return None
        choices: list[tuple[str | Option, ...]]
        choices = [(", ", Option("encoding", name), f" ({excerpt})") for name, excerpt in found]
        advice = "try " if len(found) == 1 else "choose an encoding that gives readable text: "
        return MinicharError(f"{where}: {advice}", *choices[0][1:], *chain(*choices[1:]))
