"""Loss curves from the history stored in a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

from minichar.checkpoints.checkpoint import load_history
from minichar.errors import MinicharError
from minichar.formats.naming import may_have_state


@dataclass(frozen=True)
class Curve:
    """Measurements from one run. Losses are in nats per character.

    Attributes
    ----------
    name : str
        The run's name in the legend.
    epochs, train, learning_rate, teacher_forcing_ratio : tuple of float
        One value per measurement. `train` is the mean training loss since the previous measurement.
    val : tuple of float or None
        Validation loss, or None if it was not measured.
    """

    name: str
    epochs: tuple[float, ...]
    train: tuple[float, ...]
    val: tuple[float | None, ...]
    learning_rate: tuple[float, ...]
    teacher_forcing_ratio: tuple[float, ...]

    @property
    def best(self) -> tuple[float, float] | None:
        """The epoch and the loss of the first measurement with the lowest validation loss, or None."""
        measured = [
            (loss, epoch) for epoch, loss in zip(self.epochs, self.val, strict=True) if loss is not None
        ]
        if not measured:
            return None
        loss, epoch = min(measured)
        return epoch, loss


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
    columns = ("epoch", "train_loss", "val_loss", "learning_rate", "teacher_forcing_ratio")
    return Curve(name, *zip(*([row[column] for column in columns] for row in history), strict=True))
