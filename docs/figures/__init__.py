"""The figures of the documentation: each a script that draws, most from a run of the engine itself."""

from importlib import import_module
from pathlib import Path

SCRIPTS = ("data_flow", "unrolled", "cells", "truncation", "v_shape", "vanishing", "losses")
FOLDER = Path(__file__).parent


def draw_all() -> None:
    """Run every script."""
    for name in SCRIPTS:
        import_module(f"figures.{name}").main()


def draw_if_stale() -> None:
    """Run every script if one of them is newer than a figure, or there are none yet."""
    drawn = [path.stat().st_mtime for path in FOLDER.glob("*.svg")]
    if not drawn or min(drawn) < max(path.stat().st_mtime for path in FOLDER.glob("*.py")):
        draw_all()
