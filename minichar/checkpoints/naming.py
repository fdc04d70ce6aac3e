"""Checkpoint file names, which contain the epoch and validation loss.

cv/lm_lstm_epoch0.95_2.0681.npz         char-rnn's naming convention
cv/lm_lstm_epoch0.31_interrupted.npz    interrupted before the loss was measured
"""

import re
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from minichar.errors import MinicharError

PATTERN = re.compile(r"lm_[^/\\]+_epoch\d+\.\d\d_(?:(\d+\.\d{4})|(?:interrupted|unmeasured)(?:-\d+)?)\.npz")


def checkpoint_path(
    folder: str | Path, savefile: str, epoch: float, val_loss: float | None, stopped: bool
) -> Path:
    """Return the path for a new checkpoint. Its name contains the validation loss, if measured."""
    label = "interrupted" if stopped else "unmeasured"
    if val_loss is not None:
        label = f"{val_loss:.4f}"
    return Path(folder) / f"lm_{savefile}_epoch{epoch:.2f}_{label}.npz"


def is_checkpoint(path: Path) -> bool:
    """Return whether `path` has the name of a training checkpoint."""
    return PATTERN.fullmatch(path.name) is not None


def unused(path: Path) -> Path:
    """Return `path`, or if it exists, the first unused path with -2, -3, … added to the file name."""
    names = (path if n == 1 else path.with_stem(f"{path.stem}-{n}") for n in count(1))
    return next(name for name in names if not name.exists())


def loss_in_name(path: Path) -> float:
    """Return the validation loss in a checkpoint's name, or infinity if there is none."""
    match = PATTERN.fullmatch(path.name)
    return float(match[1]) if match and match[1] else float("inf")


def best_checkpoint(folder: Path) -> Path:
    """Return the checkpoint in `folder` with the lowest validation loss. If losses are equal, use the newest.

    Raises
    ------
    MinicharError
        If `folder` contains no checkpoint.
    """
    return first_checkpoint(folder, lambda path: (loss_in_name(path), -path.stat().st_mtime))


def newest_checkpoint(folder: Path) -> Path:
    """Return the newest checkpoint in `folder`.

    Raises
    ------
    MinicharError
        If `folder` contains no checkpoint.
    """
    return first_checkpoint(folder, lambda path: -path.stat().st_mtime)


def all_checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, sorted by validation loss.

    Raises
    ------
    MinicharError
        If `folder` contains no checkpoint.
    """
    best = best_checkpoint(folder)
    return [best, *sorted((p for p in checkpoints(folder) if p != best), key=loss_in_name)]


def checkpoints(folder: Path) -> list[Path]:
    """Return all files in `folder` that are named like checkpoints, unsorted."""
    return [path for path in folder.iterdir() if PATTERN.fullmatch(path.name)]


def first_checkpoint(folder: Path, order: Callable[[Path], Any]) -> Path:
    """Return the checkpoint in `folder` with the smallest sort key `order`."""
    try:
        return min(checkpoints(folder), key=order)
    except (OSError, ValueError):
        raise MinicharError(f"no checkpoint in {folder}/: train one with 'minichar train'") from None


def find_checkpoint(given: Path | None, newest: bool = False) -> Path:
    """Return the given checkpoint, or choose a checkpoint in the given directory.

    Parameters
    ----------
    given : Path or None
        A file or directory. None means the directory ``cv``.
    newest : bool
        Choose the newest checkpoint, for resuming, instead of the best checkpoint.

    Raises
    ------
    MinicharError
        If the directory contains no checkpoint.
    """
    path = Path("cv") if given is None else given
    if given is not None and not path.is_dir():
        return path
    return newest_checkpoint(path) if newest else best_checkpoint(path)


def to_delete(paths: Sequence[Path], keep: int) -> list[Path]:
    """Return the checkpoints to delete: all except the newest and the `keep` best.

    Parameters
    ----------
    paths : sequence of Path
        The checkpoints of one run, oldest first. If losses are equal, newer checkpoints rank higher.
    keep : int
        Number of best checkpoints to keep.
    """
    ranked = sorted(enumerate(paths), key=lambda item: (loss_in_name(item[1]), -item[0]))
    return [path for _, path in ranked[keep:] if path != paths[-1]]
