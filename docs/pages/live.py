"""The model of ``howto/one-page.md``, which the last lesson trains, as ``minichar convert`` writes it."""

from pathlib import Path

import minichar
from minichar.cli.course import definitions


def write_live_model(lesson: Path, folder: Path) -> None:
    """Write ``model.html`` in `folder`. Keep the weights until the lesson changes."""
    weights = folder / "model.npz"
    if not weights.exists() or weights.stat().st_mtime < lesson.stat().st_mtime:
        model, _ = definitions(lesson)["large"]()
        model.save(weights)
    minichar.load(weights).save(folder / "model.html")
