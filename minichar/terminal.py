"""Fit a progress line to the width of the terminal."""

import os
import shutil
import sys
from collections.abc import Sequence


def columns() -> int:
    """Return the width of the terminal on standard error, or 80 if it is unknown."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        width = 0
    return shutil.get_terminal_size((width or 80, 24)).columns


def fitting(parts: Sequence[str], ranked: Sequence[str]) -> str:
    """Join the parts of a progress line that fit the terminal. A line that wraps could not be redrawn.

    The last column stays empty, because some terminals wrap as soon as it is written to.

    Parameters
    ----------
    parts : sequence of str
    ranked : sequence of str
        The same parts, most important first.
    """
    kept: list[str] = []
    width = columns() - 1
    for part in ranked:
        more = [each for each in parts if each in (*kept, part)]
        if len("  ".join(more)) <= width:
            kept = more
    return "  ".join(kept) or ranked[0][:width]
