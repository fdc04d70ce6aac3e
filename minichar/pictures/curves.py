"""Loss curves from the history stored in a checkpoint."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from minichar.checkpoints.checkpoint import load_details, load_history
from minichar.errors import MinicharError
from minichar.formats.naming import may_have_state
from minichar.history import History
from minichar.text.ngram import Yardstick, yardstick_of


class Curve(NamedTuple):
    """The history of a run, the run's name in the legend and, if it was measured, the yardstick."""

    name: str
    history: History
    yardstick: Yardstick | None = None


def read_curve(path: Path, name: str) -> Curve:
    """Return the curve for the history stored in a checkpoint.

    Raises
    ------
    MinicharError
        If the file is not a checkpoint or contains no measurements.
    """
    if path.exists() and not may_have_state(path):
        raise MinicharError(f"{path} has no training history: only .npz checkpoints have one")
    history = load_history(path)
    if history is None:
        raise MinicharError(
            f"{path} has no history to plot; if it was converted, plot the original checkpoint"
        )
    if not history:
        raise MinicharError(f"{path} has no history to plot: its run stopped before the first evaluation")
    return Curve(name, history, yardstick_of(load_details(path)))


def yardsticks(curves: Iterable[Curve]) -> list[Yardstick]:
    """Return the yardsticks of the curves, each of them once."""
    return list(dict.fromkeys(curve.yardstick for curve in curves if curve.yardstick))
