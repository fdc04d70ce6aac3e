"""Parse the opcodes of a pickle with bounded memory use.

Everything except text is parsed by pickletools. Python stores all characters of a string at the width of its
widest character, so a single emoji quadruples the size of a long ASCII string. The memory for a string is
therefore charged against a budget before the string is decoded.

Old pickles store the bytes of an array as text with one character per byte. Text that is too long for a dict
key is therefore converted back to bytes if possible. If the text were converted later, each reference to it
in the pickle would create another copy.
"""

import codecs
import io
import pickletools
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from minichar.errors import Refused
from minichar.formats.budget import Budget

MAX_KEY = 255
"""Maximum number of characters in a dict key."""
MAX_LINE = 1 << 16
"""Maximum number of bytes in a newline-terminated number or name."""
MAX_TEXT_LINE = 128 << 20
"""Maximum number of bytes in a newline-terminated string. Decoding copies the string several times."""

TWO_BYTES = re.compile(rb"\\u(?!00)")
"""An escaped character that does not fit in one byte."""
OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}
SIZED_TEXT = {
    "SHORT_BINSTRING": pickletools.read_bytes1,
    "BINSTRING": pickletools.read_bytes4,
    "SHORT_BINUNICODE": pickletools.read_bytes1,
    "BINUNICODE": pickletools.read_bytes4,
    "BINUNICODE8": pickletools.read_bytes8,
}
"""Opcodes with a length-prefixed text argument, and the functions that read the argument as bytes."""

File = io.FileIO | io.BytesIO


class Program(io.BufferedReader):
    """A pickle, read one opcode at a time. An invalid opcode is found before the rest of the file is read.

    `size` is the size of the file in bytes. The memory that decoded text takes up in addition to its size in
    the file is charged to the budget `memory`.
    """

    def __init__(self, file: File, size: int, memory: Budget) -> None:
        super().__init__(file)
        self.size, self.memory = size, memory

    def opcodes(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and argument of each opcode, up to and including STOP.

        An invalid pickle can raise any exception.
        """
        name = ""
        while name != "STOP":
            opcode = OPCODES[self.read(1).decode("latin-1")]
            name = opcode.name
            if name in SIZED_TEXT:
                yield name, self.decoded(SIZED_TEXT[name](self), "latin-1" if "STRING" in name else "utf-8")
            elif name == "STRING":
                yield name, self.decoded(self.quoted(), "latin-1")
            elif name == "UNICODE":
                yield name, self.decoded(self.readline(MAX_TEXT_LINE)[:-1], "raw-unicode-escape")
            else:
                yield name, opcode.arg and opcode.arg.reader(self)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read and return `size` bytes. The memory for them is allocated only if the file is long enough."""
        if size is not None and size > MAX_LINE and size > self.size - self.tell():
            raise Refused("it is truncated")
        return super().read(size)

    def readline(self, size: int | None = MAX_LINE, /) -> bytes:
        """Read and return a line of at most `size` bytes."""
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise Refused("it contains a truncated or overlong line")
        return line

    def quoted(self) -> bytes:
        """Return the string on the next line, with its quotes removed and escape sequences decoded."""
        line = self.readline(MAX_TEXT_LINE)
        quote = line[:1]
        if quote not in (b"'", b'"') or not line[1:].endswith(quote + b"\n"):
            raise Refused("it contains a string without quotes")
        return codecs.escape_decode(line[1:-2])[0]

    def decoded(self, raw: bytes, encoding: str) -> str | bytes:
        """Return text as bytes if it is Latin-1 and too long for a dict key, and as a string otherwise."""
        if encoding == "latin-1" and len(raw) > MAX_KEY:
            return raw
        self.memory.spend((width(raw, encoding) - 1) * len(raw))
        text = raw.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        del raw  # free the memory before the text is copied again
        if len(text) > MAX_KEY:
            with suppress(UnicodeEncodeError):
                return text.encode("latin-1")
        return text


def width(raw: bytes, encoding: str) -> int:
    """Return an upper bound on the number of bytes per character in the decoded text."""
    if encoding == "raw-unicode-escape":
        return 4 if b"\\U" in raw else 2 if TWO_BYTES.search(raw) else 1
    highest = np.max(np.frombuffer(raw, np.uint8), initial=0) if encoding == "utf-8" else 0
    # In UTF-8, U+0100 starts with the byte C4, and U+10000 with F0.
    return 1 if highest < 0xC4 else 2 if highest < 0xF0 else 4
