"""Read and decode text files, with error messages that suggest a fix."""

from __future__ import annotations

import codecs
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import IO

import numpy as np
from numpy.typing import NDArray

from minichar.errors import MinicharError, Option, brief, quoted
from minichar.text.encodings import SAMPLE, suggest
from minichar.text.vocabulary import code_points

BINARY = "it looks like a binary file: choose a text file"
STRAY = 1000
"""Minimum number of characters per NUL character, up to the first of them, of a text."""
WIDE = ("utf-16", "utf-32")
PIECE = 1 << 20  # number of bytes read and decoded at a time
BOMS = {  # UTF-32 first: its little-endian mark starts with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
GZIP, BZIP2, XZ, ZIP = rb"\x1f\x8b", rb"BZh[1-9]1AY&SY", rb"\xfd7zXZ\0", rb"PK\x03\x04"
FORMATS = (
    (GZIP, ".gz", "is compressed: decompress it with `gunzip -k {}`"),
    (BZIP2, ".bz2", "is compressed: decompress it with `bunzip2 -k {}`"),
    (XZ, ".xz", "is compressed: decompress it with `unxz -k {}`"),
    (b"|".join([GZIP, BZIP2, XZ]), "", "is compressed: decompress it first"),
    (ZIP, (".docx", ".odt"), "is a word-processor document: save it as plain text first"),
    (ZIP, ".epub", "is an e-book: convert it to plain text first"),
    (ZIP, ".zip", "is a zip archive: extract its text files first"),
    (rb"\xd0\xcf\x11\xe0", "", "is an office document: save it as plain text first"),
    (rb"\{\\rtf", "", "is an RTF document: save it as plain text first"),
    (rb"%PDF-", "", "is a PDF document: extract its text with `pdftotext {}`"),
)
"""Formats that contain text in an encoded form: how the file and its name start and end, and what to do."""


def check_encoding(encoding: str) -> str:
    """Return Python's canonical name for a text encoding, or raise a `MinicharError` if there is none."""
    try:
        codecs.getincrementaldecoder(encoding)
        b"a".decode(encoding)
    except UnicodeDecodeError:  # for example utf-16, in which one byte is not a complete character
        pass
    except (LookupError, ValueError):
        raise MinicharError(f"unknown encoding {brief(encoding)}: try utf-8, gb18030 or cp1252") from None
    return codecs.lookup(encoding).name


@dataclass(frozen=True)
class Source:
    """A text file, read and decoded again on every pass because it may not fit in memory.

    `open` returns a new binary file object, positioned at the start of the text. `encoding` is the canonical
    name of the encoding, and `name` is used in messages. Every method raises a `MinicharError` if the file
    cannot be read.
    """

    open: Callable[[], IO[bytes]]
    encoding: str
    name: str

    def blocks(self) -> Iterator[bytes]:
        """Yield the contents of the file in order, `PIECE` bytes at a time."""
        with self._opened() as file:
            while block := file.read(PIECE):
                yield block

    def pieces(self, changes: Counter[str]) -> Iterator[str]:
        """Yield the decoded text in order, without a byte-order mark and with LF line endings.

        The counts of removed byte-order marks and converted line endings are added to `changes`, with the
        keys "BOM", "CR LF" and "CR". Raises a `MinicharError` if the file cannot be decoded.
        """
        decoder = codecs.getincrementaldecoder(self.encoding)()
        whole_line_ends = io.IncrementalNewlineDecoder(decoder, translate=False)
        at_start, stop = True, 0
        blocks = self.blocks()
        block = next(blocks, b"")
        while block:
            following = next(blocks, b"")
            stop += len(block)
            try:
                piece = whole_line_ends.decode(block, final=not following)
            except UnicodeError as exc:
                raise self._undecodable(exc, stop, at_end=not following) from None
            block = following
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

    def count(self, counts: NDArray[np.int64], changes: Counter[str]) -> int:
        """Count each code point in `counts`, ``(0x110000,)``, and return the number of characters.

        `changes` is as in `pieces`, but byte-order marks that the decoder removes are also counted. Files
        that start with a UTF-8 byte-order mark but are read in another encoding are counted under "UTF-8
        BOM". Raises a `MinicharError` if the file cannot be decoded, contains a NUL character, or has one of
        the `FORMATS`.
        """
        start = self._read(0, 1000)
        for magic, suffix, problem in FORMATS:
            if re.match(magic, start) and self.name.endswith(suffix):
                raise MinicharError(f"{self.name!r} {problem.format(quoted(self.name))}")
        N = 0
        own: Counter[str] = Counter()
        for piece in self.pieces(own):
            if nuls := piece.count("\0"):
                where, at = f"{self.name!r} contains NUL characters", self._find_nul()
                # In a wide encoding, other characters have zero bytes too.
                are_stray = nuls * STRAY <= max(N + len(piece), STRAY) and not self.encoding.startswith(WIDE)
                names = chain(["clean.txt"], (f"clean-{n}.txt" for n in count(2)))
                new = next(name for name in names if not os.path.exists(name))
                remedy = f"`tr -d '\\0' < {quoted(self.name)} > {new}`"
                stray = f", the first at byte offset {at:,}: remove them, for example with {remedy}"
                problem = stray if are_stray else f", so {BINARY}"
                raise self._suggestion(where, at) or MinicharError(where + problem)
            N += len(piece)
            seen = np.bincount(code_points(piece))
            counts[: len(seen)] += seen
        # Some codecs, such as utf-16 and utf-8-sig, remove the byte-order mark themselves.
        foreign = start.startswith(codecs.BOM_UTF8) and not self.encoding.startswith("utf-8")
        marked = (
            self.encoding.startswith("utf") and start.startswith((codecs.BOM_UTF8, *BOMS)) and not foreign
        )
        own["BOM"] = int(marked or own["BOM"] > 0)
        own["UTF-8 BOM"] = int(foreign)
        changes.update(own)
        return N

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        try:
            with self.open() as file:
                yield file
        except OSError as exc:
            raise MinicharError(f"cannot read {self.name!r}: {exc.strerror}") from None

    def _read(self, start: int, size: int) -> bytes:
        with self._opened() as file:
            file.seek(start)
            return file.read(size)

    def _find_nul(self) -> int:
        """Return the offset of the first zero byte, or -1 if there is none."""
        start = 0
        for block in self.blocks():
            if b"\0" in block:
                return start + block.find(0)
            start += len(block)
        return -1

    def _undecodable(self, exc: UnicodeError, stop: int, at_end: bool) -> MinicharError:
        """Return the error to raise for the decoding error `exc`.

        `stop` is the end offset of the block being decoded; `at_end` is True for the last block.
        """
        option = Option("encoding")
        if not isinstance(exc, UnicodeDecodeError):  # for example utf-16 without a BOM, before Python 3.13
            where = f"{self.name!r} is not {self.encoding} text ({exc})"
            unknown = MinicharError(f"{where}: set ", option, " to the correct encoding")
            return self._suggestion(where, 0) or unknown
        offset = stop - len(exc.object) + exc.start
        where = f"{self.name!r} is not {self.encoding} text at byte offset {offset:,} ({exc.reason})"
        wide = self.encoding.startswith(WIDE)
        start = self._read(0, 4)
        bom = next((name for mark, name in BOMS.items() if start.startswith(mark)), None)
        if bom and not wide:
            mark = f"a UTF-{bom[-2:]} byte-order mark"
            return MinicharError(f"{where}: it starts with {mark}, so use ", Option("encoding", bom))
        if at_end and exc.end == len(exc.object):
            return MinicharError(
                f"{where}, at the end: the file may be truncated; get a complete copy, or try a different ",
                option,
            )
        if suggestion := self._suggestion(where, offset):
            return suggestion
        if not wide and b"\0" in exc.object:
            return MinicharError(f"{where}: {BINARY}")
        return MinicharError(f"{where}: set ", option, " to the correct encoding")

    def _suggestion(self, where: str, offset: int) -> MinicharError | None:
        """Return an error that suggests other encodings, or None if none is plausible."""
        start = max(offset - SAMPLE, 0) // 2 * 2  # even, because UTF-16 code units are 2 bytes wide
        nearby = self._read(start, 2 * SAMPLE)
        if not (found := suggest(nearby, offset - start, self.encoding)):
            return None
        likeliest = {excerpt: name for name, excerpt in reversed(found)}  # of those with the same excerpt
        found = [(name, excerpt) for name, excerpt in found if likeliest[excerpt] == name]
        choices: list[tuple[str | Option, ...]]
        choices = [(", ", Option("encoding", name), f" ({excerpt})") for name, excerpt in found]
        advice = "try " if len(found) == 1 else "choose an encoding that gives readable text: "
        return MinicharError(f"{where}: {advice}", *choices[0][1:], *chain(*choices[1:]))
