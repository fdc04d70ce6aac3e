"""Loss curves from the history stored in a checkpoint."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
    stopped: tuple[float, float] | None = None  # epoch and validation loss where the run was stopped
    text: Any = None  # digest of the training text

    def validation(self) -> np.ndarray:
        """Return the epochs and the losses of all measurements on the validation text, ``(2, n)``."""
        measured = np.stack([self.history["epoch"], self.history["val_loss"]])  # (2, n)
        if self.stopped:
            measured = np.column_stack([measured, self.stopped])
        return measured[:, ~np.isnan(measured[1])]

    @property
    def last_epoch(self) -> float:
        """The epoch of the last measurement."""
        return self.stopped[0] if self.stopped else float(self.history[-1]["epoch"])

    def best(self) -> tuple[float, float] | None:
        """Return the epoch and the loss of the first measurement with the lowest loss, or None."""
        epochs, losses = self.validation()  # (n,)
        return (float(epochs[losses.argmin()]), float(losses.min())) if len(losses) else None


class NotEvaluated(MinicharError):
    """Raised when a run has no history because it has not been evaluated yet."""


def read_curve(path: Path, name: str) -> Curve:
    """Return the history stored in a checkpoint, or raise a `MinicharError` if there is none.

    Raises `NotEvaluated` if the run has not been evaluated yet.
    """
    if path.exists() and not may_have_state(path):
        raise MinicharError(f"{path} has no training history: only .npz checkpoints have one")
    history = load_history(path)
    if history is None:
        raise MinicharError(
            f"{path} has no history to plot; if it was converted, plot the original checkpoint"
        )
    if not history:
        raise NotEvaluated(
            f"{path} has no history to plot: its run has not been evaluated yet; if it has stopped, "
            f"resume it with `minichar train --resume {quoted(path)}`"
        )
    details = load_details(path)
    origin = details.get("origin")
    return Curve(
        name,
        history,
        yardstick_of(details),
        count_parameters(path),
        seconds_of(details),
        stop_of(details, history),
        origin.get("digest") if isinstance(origin, dict) else None,
    )


def stop_of(details: dict[str, Any], history: History) -> tuple[float, float] | None:
    """Return the epoch and validation loss where a run was stopped: its history does not contain them."""
    epoch, loss = details.get("epoch"), details.get("val_loss")
    if isinstance(epoch, float) and isinstance(loss, float) and epoch > history[-1]["epoch"]:
        return epoch, loss
    return None


def yardsticks(curves: Iterable[Curve]) -> dict[Yardstick, list[int]]:
    """Return the yardsticks of the curves, each with the indices of its curves."""
    found: dict[Yardstick, list[int]] = {}
    for i, curve in enumerate(curves):
        if curve.yardstick:
            found.setdefault(curve.yardstick, []).append(i)
    return found
