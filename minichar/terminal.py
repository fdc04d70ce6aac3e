"""Write to standard error and to terminals: escape control characters, and fit a line to the width.

This module is not in a package, because the Python interface prints too, and does not need the command line.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import TextIO

from minichar.errors import one_line, visible


class Terminal(TextIOWrapper):
    """Standard stream on a terminal that escapes control characters (see `minichar.errors.visible`).

    Without it, a file name or generated text that contains control characters could move the cursor, rewrite
    earlier output or change the terminal's settings. The stream that it replaces remains open as `unescaped`.
    """

    buffer = None  # type: ignore[assignment]
    """Hides the binary stream, because Click would write to it, or to a Windows console, directly."""

    def __init__(self, stream: TextIOWrapper) -> None:
        descriptor = open(stream.fileno(), "wb", closefd=False)  # noqa: SIM115  (closed with this stream)
        super().__init__(descriptor, stream.encoding, stream.errors, line_buffering=True)
        self.unescaped = stream

    def write(self, text: str) -> int:
        """Write text with its control characters escaped."""
        super().write(visible(text))
        return len(text)


def escape_on_terminals() -> None:
    """Replace each standard output stream that is a terminal with a `Terminal`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper) and stream.isatty():
            setattr(sys, name, Terminal(stream))
            os.environ["PYTHON_COLORS"] = "0"  # the colours of Python's tracebacks would be escaped


def unescaped(stream: TextIO) -> TextIO:
    """Return a stream that does not escape control characters, for minichar's own control sequences."""
    return stream.unescaped if isinstance(stream, Terminal) else stream


def say(line: str) -> None:
    """Print a line to standard error. Newlines in it, for example in a file name, are escaped."""
    print(one_line(line), file=sys.stderr, flush=True)


def terminal_width() -> int:
    """Return the width of the terminal on standard error, or 80 if it is unknown."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        width = 0
    return shutil.get_terminal_size((width or 80, 24)).columns


def fitting(parts: Sequence[str], ranked: Sequence[str]) -> str:
    """Join the parts of a progress line that fit the terminal. A line that wraps could not be redrawn.

    `ranked` has the same parts, most important first. The last column stays empty, because some terminals
    wrap as soon as it is written to.
    """
    kept: list[str] = []
    width = terminal_width() - 1
    for part in ranked:
        more = [each for each in parts if each in (*kept, part)]
        if len("  ".join(more)) <= width:
            kept = more
    return "  ".join(kept) or ranked[0][:width]
