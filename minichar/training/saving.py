"""Write the checkpoint files of a training run, find the best one and delete old ones."""

from collections.abc import Callable, Iterable
from pathlib import Path

from minichar.checkpoints.history import Row
from minichar.checkpoints.naming import checkpoint_path, latest_path, loss_in_name, to_delete, unused
from minichar.training.events import Saved

Write = Callable[[Path, float | None], None]
"""``write(path, val_loss)`` writes a checkpoint."""


class Saver:
    """Writes and deletes the checkpoints of one run.

    Parameters
    ----------
    directory : Path
    name : str
        Name of the run, used in file names.
    keep : int
        Number of best checkpoints to keep, in addition to the newest one; 0 to keep all.
    write : callable
        ``write(path, val_loss)`` writes a checkpoint.

    Attributes
    ----------
    best_loss : float
        Lowest validation loss of the run, in nats per character.
    last : Path or None
        The newest checkpoint, or the one that the run was resumed from.
    latest : Path or None
        Checkpoint saved between evaluations. The next save between evaluations overwrites this file, and any
        other save deletes it.
    """

    def __init__(self, directory: Path, name: str, keep: int, write: Write) -> None:
        self.directory, self.name, self.keep, self.write = directory, name, keep, write
        self.best_loss = float("inf")
        self.last: Path | None = None
        self.latest: Path | None = None
        self._saved: dict[Path, None] = {}  # an ordered set, oldest first

    @property
    def saved(self) -> list[Path]:
        """The checkpoints saved by this process, except `latest`, oldest first."""
        return list(self._saved)

    def best(self, history: Iterable[Row]) -> Path | None:
        """Return the checkpoint with the lowest validation loss; ties go to the newest.

        Checkpoints in the history and checkpoints saved by this process are considered if their files
        still exist.
        """
        measured = (
            checkpoint_path(self.directory, self.name, row["epoch"], row["val_loss"], False)
            for row in history
            if row["val_loss"] is not None
        )
        existing = [path for path in (*measured, *self._saved) if path.is_file()]
        return min(reversed(existing), key=loss_in_name, default=None)

    def record(self, val_loss: float) -> bool:
        """Record a validation loss and return True if it is lower than all earlier ones."""
        best = val_loss < self.best_loss
        self.best_loss = min(val_loss, self.best_loss)
        return best

    def save(self, epoch: float, val_loss: float | None, stopped: bool) -> Saved:
        """Save a checkpoint. The file name contains the validation loss, if measured."""
        best = val_loss is not None and self.record(val_loss)
        path = checkpoint_path(self.directory, self.name, epoch, val_loss, stopped)
        if val_loss is None:
            path = unused(path)
        self.write(path, val_loss)
        self.last = path
        self._saved.pop(path, None)
        self._saved[path] = None
        if self.latest is not None:
            self.latest.unlink(missing_ok=True)
            self.latest = None
        if self.keep:
            for old in to_delete(self.saved, self.keep):
                old.unlink(missing_ok=True)
                del self._saved[old]
        return Saved(path, best)

    def save_latest(self) -> Saved:
        """Save a checkpoint between evaluations."""
        path = self.latest or unused(latest_path(self.directory, self.name))
        self.write(path, None)
        self.last = self.latest = path
        return Saved(path, latest=True)
