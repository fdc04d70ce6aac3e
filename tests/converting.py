"""Wrapper for `minichar.formats.convert.convert` that also returns the notes."""

from pathlib import Path
from typing import NamedTuple

import minichar.formats.convert


class Converted(NamedTuple):
    path: Path
    notes: tuple[str, ...]


def convert(*arguments, **options):
    notes = []
    path = minichar.formats.convert.convert(*arguments, **options, on_note=notes.append)
    return Converted(path, tuple(notes))
