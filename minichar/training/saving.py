"""Write the checkpoint files of a training run, find the best one and delete old ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from minichar.checkpoints.naming import checkpoint_name, latest_path, loss_in_name, to_delete, unused
from minichar.errors import MinicharError
from minichar.history import History
from minichar.training.events import Saved

Write = Callable[[Path, float | None], None]
"""``write(path, val_loss)`` writes a checkpoint."""


class Saver:
    """Writes and deletes the checkpoints of one run in a directory.

    `name` is the name of the run in file names. `keep` is the number of best checkpoints to keep, in addition
    to the newest one; 0 to keep all.
    """

    def __init__(self, directory: Path, name: str, keep: int, write: Write) -> None:
        self.directory, self.name, self.keep, self.write = directory, name, keep, write
        self.best_loss = float("inf")  # lowest validation loss of the run, in nats per character
        self.saved: list[Path] = []  # those saved by this process, except `latest`, oldest first
        self.resumed: Path | None = None  # the one that the run was resumed from
        self.last: Path | None = None  # the newest one, or `resumed`
        # The one saved between evaluations. The next save between evaluations overwrites it, and any other
        # save deletes it.
        self.latest: Path | None = None
        # Those no longer needed. They are deleted after each save. If that fails, for example because
        # another program has opened the file on Windows, it is retried after the next save.
        self.obsolete: list[Path] = []
        self._warned = False

    def best(self, history: History) -> Path | None:
        """Return the checkpoint with the lowest validation loss; ties go to the newest.

        Checkpoints in the history, the one that the run was resumed from and those saved by this process
        are considered if their files still exist.
        """
        epochs, losses = history["epoch"][::-1], history["val_loss"][::-1]  # newest first
        ranked = np.argsort(losses.round(4), kind="stable")  # as precise as the file names; NaN last
        measured = (
            self.directory / checkpoint_name(self.name, epochs[i], losses[i], False)
            for i in ranked[: np.count_nonzero(~np.isnan(losses))]
        )
        existing = {path for path in self.directory.glob("lm_*.npz") if path.is_file()}
        best = next((path for path in measured if path in existing), None)
        newest_first = *reversed(self.saved), self.resumed, best
        return min((path for path in newest_first if path in existing), key=loss_in_name, default=None)

    def record(self, val_loss: float) -> bool:
        """Record a validation loss and return True if it is lower than all earlier ones."""
        best = val_loss < self.best_loss
        self.best_loss = min(val_loss, self.best_loss)
        return best

    def save(self, epoch: float, val_loss: float | None, stopped: bool) -> Saved:
        """Save a checkpoint. The file name contains the validation loss, if measured."""
        best = val_loss is not None and self.record(val_loss)
        path = unused(self.directory / checkpoint_name(self.name, epoch, val_loss, stopped))
        self.write(path, val_loss)
        self.last = path
        self.saved.append(path)
        if self.latest is not None:
            self.obsolete.append(self.latest)
            self.latest = None
        if self.keep:
            for old in to_delete(self.saved, self.keep):
                self.obsolete.append(old)
                self.saved.remove(old)
        return Saved(path, best, warning=self._delete_obsolete())

    def save_latest(self) -> Saved:
        """Save a checkpoint between evaluations, replacing the previous such checkpoint if possible."""
        path = self.latest or unused(latest_path(self.directory, self.name))
        try:
            self.write(path, None)
        except MinicharError:
            if path != self.latest:
                raise
            self.obsolete.append(path)
            path = unused(latest_path(self.directory, self.name))
            self.write(path, None)
        self.last = self.latest = path
        return Saved(path, latest=True, warning=self._delete_obsolete())

    def _delete_obsolete(self) -> str:
        """Delete the obsolete checkpoints, and return a warning the first time that this fails."""
        left, warning = [], ""
        for path in self.obsolete:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                left.append(path)
                warning = f"cannot delete {path} ({error.strerror}); trying again after each checkpoint"
        self.obsolete = left
        if self._warned:
            return ""
        self._warned = bool(warning)
        return warning
