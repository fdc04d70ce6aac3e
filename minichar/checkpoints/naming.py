"""Checkpoint file names, which usually contain the epoch and validation loss.

cv/lm_lstm_epoch0.95_2.0681.npz         char-rnn's naming convention
cv/lm_lstm_epoch0.31_interrupted.npz    interrupted before the loss was measured
cv/lm_lstm_latest.npz                   saved between evaluations, and overwritten as the run continues
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

from minichar.errors import MinicharError

Loaded = TypeVar("Loaded")

PATTERN = re.compile(
    r"lm_[^/\\]+_(?:epoch\d+\.\d\d_(?:(\d+\.\d{4})|(?:interrupted|unmeasured)(?:-\d+)?)|(latest)(?:-\d+)?)\.npz"
)


def checkpoint_path(folder: Path, savefile: str, epoch: float, val_loss: float | None, stopped: bool) -> Path:
    """Return the path for a new checkpoint. The name contains the validation loss if it was measured."""
    label = "interrupted" if stopped else "unmeasured"
    if val_loss is not None:
        label = f"{val_loss:.4f}"
    return folder / f"lm_{savefile}_epoch{epoch:.2f}_{label}.npz"


def latest_path(folder: Path, savefile: str) -> Path:
    """Return the path of the checkpoint that is saved between evaluations."""
    return folder / f"lm_{savefile}_latest.npz"


def is_latest(path: Path) -> bool:
    """Return whether `path` has the name of a checkpoint saved between evaluations."""
    match = PATTERN.fullmatch(path.name)
    return match is not None and match[2] is not None


def is_checkpoint(path: Path) -> bool:
    """Return whether `path` has the name of a training checkpoint."""
    return PATTERN.fullmatch(path.name) is not None


def unused(path: Path) -> Path:
    """Return `path` or, if that file exists, the first unused path with -2, -3, … appended to its stem."""
    names = (path if n == 1 else path.with_stem(f"{path.stem}-{n}") for n in count(1))
    return next(name for name in names if not name.exists())


def loss_in_name(path: Path) -> float:
    """Return the validation loss in a checkpoint's name, or infinity if the name has none."""
    match = PATTERN.fullmatch(path.name)
    return float(match[1]) if match and match[1] else float("inf")


def best_checkpoint(folder: Path) -> Path:
    """Return the checkpoint in `folder` with the lowest validation loss; ties go to the newest.

    Raises
    ------
    MinicharError
        If `folder` cannot be read or contains no checkpoint.
    """
    return min(newest_first(folder), key=loss_in_name)


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, newest first.

    Raises
    ------
    MinicharError
        If `folder` cannot be read or contains no checkpoint.
    """
    times = {}
    try:
        found = list(filter(is_checkpoint, folder.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        found = []
    except OSError as error:
        raise MinicharError(f"cannot read {folder}/: {error.strerror}") from error
    for path in found:
        with suppress(OSError):  # a dangling symlink, or a file deleted in the meantime
            status = path.stat()
            if S_ISREG(status.st_mode):
                times[path] = status.st_mtime_ns
    if not times:
        below = sorted(filter(is_checkpoint, folder.glob("*/*.npz")))
        advice = "train one with `minichar train`"
        if below:  # for example, in a sweep directory, which has one subdirectory per trial
            advice = f"choose one of its subdirectories, such as {min(below, key=loss_in_name).parent}"
        raise MinicharError(f"no checkpoint in {folder}/: {advice}")
    return sorted(times, key=lambda path: -times[path])


def all_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, sorted by validation loss and then from newest to oldest.

    Raises
    ------
    MinicharError
        If `folder` cannot be read or contains no checkpoint.
    """
    return sorted(newest_first(folder), key=loss_in_name)


def find_checkpoint(given: Path | None, newest: bool = False) -> Path:
    """Return the best or newest checkpoint in `given` if it is a directory; otherwise, return `given`.

    Parameters
    ----------
    given : Path or None
        A file or directory. None means the directory ``cv``.
    newest : bool
        Whether to choose the newest checkpoint (to resume training) instead of the best one.

    Raises
    ------
    MinicharError
        If the directory cannot be read or contains no checkpoint.
    """
    path = Path("cv") if given is None else given
    if given is not None and not os.path.isdir(path):  # unlike `Path.is_dir`, this never raises
        return path
    return newest_first(path)[0] if newest else best_checkpoint(path)


def open_checkpoint(
    given: Path | None, load: Callable[[Path], Loaded], newest: bool = False
) -> tuple[Path, Loaded]:
    """Choose a checkpoint as `find_checkpoint` does, and return its path and the result of ``load(path)``.

    If the chosen checkpoint is deleted before it is loaded, as can happen with ``minichar train --keep``,
    another one is chosen.

    Raises
    ------
    MinicharError
        If the directory cannot be read or contains no checkpoint, or if `load` raises an error.
    """
    while True:
        path = find_checkpoint(given, newest)
        try:
            return path, load(path)
        except MinicharError:
            if path == given or path.exists():
                raise


def to_delete(paths: Sequence[Path], keep: int) -> list[Path]:
    """Return the checkpoints to delete: all except the newest and the `keep` best.

    Parameters
    ----------
    paths : sequence of Path
        The checkpoints of one run, oldest first. Checkpoints with equal losses are ranked newest first.
    keep : int
        Number of best checkpoints to keep.
    """
    ranked = sorted(enumerate(paths), key=lambda item: (loss_in_name(item[1]), -item[0]))
    return [path for _, path in ranked[keep:] if path != paths[-1]]
