"""The loss history that a checkpoint carries, as curves to draw."""

import os
from dataclasses import dataclass
from math import isfinite
from typing import Any

from minichar.checkpoints.archive import Archive


@dataclass(frozen=True)
class Curve:
    """What one run measured, a value a measurement; losses in nats per character.

    Attributes
    ----------
    name : str
        What to call the run.
    epochs, train, learning_rate, true_share : tuple of float
        `train` is the mean since the measurement before.
    val : tuple of float or None
        None where the run has no validation part.
    """

    name: str
    epochs: tuple[float, ...]
    train: tuple[float, ...]
    val: tuple[float | None, ...]
    learning_rate: tuple[float, ...]
    true_share: tuple[float, ...]

    @property
    def best(self) -> tuple[float, float] | None:
        """The epoch and the loss of the lowest validation loss, the first where several have it."""
        measured = [
            (loss, epoch) for epoch, loss in zip(self.epochs, self.val, strict=True) if loss is not None
        ]
        if not measured:
            return None
        loss, epoch = min(measured)
        return epoch, loss


def read_curve(path: str | os.PathLike[str], name: str) -> Curve:
    """Return the history in a checkpoint.

    Raises
    ------
    MinicharError
        If the file is no checkpoint, or holds no measurement.
    """
    with Archive(path) as archive:
        training = archive.header.get("training")
        if not isinstance(training, dict):
            raise archive.damaged("it has no history to draw; name a checkpoint of training")
        try:
            rows = [_row(row) for row in training["history"]]
        except (KeyError, TypeError, ValueError) as error:
            raise archive.damaged(f"its history is damaged ({error})") from error
        if not rows:
            raise archive.damaged(
                "its run was stopped before the first measurement, so there is nothing to draw"
            )
    return Curve(name, *zip(*rows, strict=True))


def _row(row: dict[str, Any]) -> tuple[float, float, float | None, float, float]:
    val = _number(row["val"]["loss"]) if row["val"] else None
    epoch, train, learning_rate, true_share = (
        _number(row[field]) for field in ("epoch", "train_loss", "learning_rate", "true_share")
    )
    return epoch, train, val, learning_rate, true_share


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
