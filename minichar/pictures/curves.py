"""Loss curves from the history stored in a checkpoint."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from minichar.checkpoints.checkpoint import count_parameters, load_details, load_history
from minichar.errors import MinicharError
from minichar.formats.naming import may_have_state
from minichar.history import History
from minichar.model import seconds_of
from minichar.text.ngram import Yardstick, yardstick_of


class Curve(NamedTuple):
    """The history of a run, its name in the legend, and other values to show. Unknown values are None."""

    name: str
    history: History
    yardstick: Yardstick | None = None
    parameters: int = 0
    seconds: float | None = None


def read_curve(path: Path, name: str) -> Curve:
    """Return the history stored in a checkpoint, or raise a `MinicharError` if there is none."""
    if path.exists() and not may_have_state(path):
        raise MinicharError(f"{path} has no training history: only .npz checkpoints have one")
    history = load_history(path)
    if history is None:
        raise MinicharError(
            f"{path} has no history to plot; if it was converted, plot the original checkpoint"
        )
    if not history:
        raise MinicharError(f"{path} has no history to plot: its run stopped before the first evaluation")
    details = load_details(path)
    return Curve(name, history, yardstick_of(details), count_parameters(path), seconds_of(details))


def yardsticks(curves: Iterable[Curve]) -> list[Yardstick]:
    """Return the yardsticks of the curves, without duplicates."""
    return list(dict.fromkeys(curve.yardstick for curve in curves if curve.yardstick))
