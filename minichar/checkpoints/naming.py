"""The names of checkpoints, which hold the epoch and the validation loss, and what can be read off them.

cv/lm_lstm_epoch0.95_2.0681.npz         char-rnn's convention
cv/lm_lstm_epoch0.31_interrupted.npz    saved without measuring
"""

import re
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from minichar.errors import MinicharError

PATTERN = re.compile(r"lm_[^/\\]+_epoch\d+\.\d\d_(?:(\d+\.\d{4})|(?:interrupted|unmeasured)(?:-\d+)?)\.npz")


def checkpoint_path(folder: str, savefile: str, epoch: float, val_loss: float | None, stopped: bool) -> Path:
    """Return where to save: the name says the validation loss, or why there is none."""
    label = "interrupted" if stopped else "unmeasured"
    if val_loss is not None:
        label = f"{val_loss:.4f}"
    return Path(folder) / f"lm_{savefile}_epoch{epoch:.2f}_{label}.npz"


def is_checkpoint(path: Path) -> bool:
    """Say whether the name is one that training gives."""
    return PATTERN.fullmatch(path.name) is not None


def unused(path: Path) -> Path:
    """Return `path`, or the same name with -2, -3, … where there is a file: runs may stop at one epoch."""
    names = (path if n == 1 else path.with_stem(f"{path.stem}-{n}") for n in count(1))
    return next(name for name in names if not name.exists())


def loss_in_name(path: Path) -> float:
    """Return the validation loss in a checkpoint's name, infinite where it says none."""
    match = PATTERN.fullmatch(path.name)
    return float(match[1]) if match and match[1] else float("inf")


def best_checkpoint(folder: str | Path) -> Path:
    """Return the checkpoint of lowest validation loss in `folder`, the newest where several have it.

    Raises
    ------
    MinicharError
        If there is no checkpoint.
    """
    return first_checkpoint(folder, lambda path: (loss_in_name(path), -path.stat().st_mtime))


def newest_checkpoint(folder: str | Path) -> Path:
    """Return the checkpoint in `folder` that was written last.

    Raises
    ------
    MinicharError
        If there is no checkpoint.
    """
    return first_checkpoint(folder, lambda path: -path.stat().st_mtime)


def all_checkpoints(folder: str | Path) -> list[Path]:
    """Return the checkpoints in `folder`, that of lowest validation loss first.

    Raises
    ------
    MinicharError
        If there is none.
    """
    best = best_checkpoint(folder)
    return [best, *sorted((p for p in checkpoints(folder) if p != best), key=loss_in_name)]


def checkpoints(folder: str | Path) -> list[Path]:
    """Return every file in `folder` that is named as a checkpoint, in no order."""
    return [path for path in Path(folder).iterdir() if PATTERN.fullmatch(path.name)]


def first_checkpoint(folder: str | Path, order: Callable[[Path], Any]) -> Path:
    """Return the checkpoint in `folder` that comes first in this order."""
    try:
        return min(checkpoints(folder), key=order)
    except (OSError, ValueError):
        raise MinicharError(f"no checkpoint in {folder}/: train one with 'minichar train'") from None


def find_checkpoint(given: str | None, newest: bool = False) -> Path:
    """Return the checkpoint that the user means: a file, or one in a folder, ``cv`` by default.

    Parameters
    ----------
    given : str or None
    newest : bool
        In a folder, the one written last, to go on with; else the best, to use.

    Raises
    ------
    MinicharError
        If a folder holds no checkpoint.
    """
    path = Path(given or "cv")
    if given is not None and not path.is_dir():
        return path
    return newest_checkpoint(path) if newest else best_checkpoint(path)


def to_delete(paths: Sequence[Path], keep: int) -> list[Path]:
    """Return which of a run's checkpoints, oldest first, are neither the newest nor among the `keep` best.

    Of equally good ones the newer are kept.
    """
    ranked = sorted(enumerate(paths), key=lambda item: (loss_in_name(item[1]), -item[0]))
    return [path for _, path in ranked[keep:] if path != paths[-1]]
