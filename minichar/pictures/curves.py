"""Loss curves from the history stored in a checkpoint."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from minichar.checkpoints.checkpoint import count_parameters, load_details, load_history
from minichar.errors import MinicharError, quoted
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
    stopped: tuple[float, float] | None = None  # where the run was stopped: the epoch and validation loss


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
        raise MinicharError(
            f"{path} has no history to plot: its run stopped before the first evaluation; resume it with "
            f"`minichar train --resume {quoted(path)}`"
        )
    details = load_details(path)
    return Curve(
        name,
        history,
        yardstick_of(details),
        count_parameters(path),
        seconds_of(details),
        stop_of(details, history),
    )


def stop_of(details: dict[str, Any], history: History) -> tuple[float, float] | None:
    """Return the epoch and validation loss at which a run was stopped: its history does not contain them."""
    epoch, loss = details.get("epoch"), details.get("val_loss")
    if isinstance(epoch, float) and isinstance(loss, float) and epoch > history[-1]["epoch"]:
        return epoch, loss
    return None


def yardsticks(curves: Iterable[Curve]) -> list[Yardstick]:
    """Return the yardsticks of the curves, without duplicates."""
    return list(dict.fromkeys(curve.yardstick for curve in curves if curve.yardstick))
