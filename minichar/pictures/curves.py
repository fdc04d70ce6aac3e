"""Loss curves from the history in a checkpoint."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from minichar.checkpoints.archive import Archive


@dataclass(frozen=True)
class Curve:
    """The measurements in one run. Losses are in nats per character.

    Attributes
    ----------
    name : str
        The name of the run in the legend.
    epochs, train, learning_rate, teacher_forcing_ratio : tuple of float
        One value per measurement. `train` is the mean training loss since the previous measurement.
    val : tuple of float or None
        Validation loss; None for a run without validation data.
    """

    name: str
    epochs: tuple[float, ...]
    train: tuple[float, ...]
    val: tuple[float | None, ...]
    learning_rate: tuple[float, ...]
    teacher_forcing_ratio: tuple[float, ...]

    @property
    def best(self) -> tuple[float, float] | None:
        """The epoch and value of the lowest validation loss, at the first epoch that reached it."""
        measured = [
            (loss, epoch) for epoch, loss in zip(self.epochs, self.val, strict=True) if loss is not None
        ]
        if not measured:
            return None
        loss, epoch = min(measured)
        return epoch, loss


def read_curve(path: Path, name: str) -> Curve:
    """Return the history in a checkpoint.

    Raises
    ------
    MinicharError
        If the file is not a checkpoint, or has no measurements.
    """
    with Archive(path) as archive:
        training = archive.header.get("training")
        if not isinstance(training, dict):
            raise archive.damaged("it has no history to plot; choose a checkpoint with training state")
        try:
            rows = [_row(row) for row in training["history"]]
        except (KeyError, TypeError, ValueError) as error:
            raise archive.damaged(f"its history is damaged ({error})") from error
        if not rows:
            raise archive.damaged("its run stopped before the first measurement; there is nothing to plot")
    return Curve(name, *zip(*rows, strict=True))


def _row(row: dict[str, Any]) -> tuple[float, float, float | None, float, float]:
    val = _number(row["val"]["loss"]) if row["val"] else None
    epoch, train, learning_rate, ratio = (
        _number(row[field]) for field in ("epoch", "train_loss", "learning_rate", "true_share")
    )
    return epoch, train, val, learning_rate, ratio


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)
