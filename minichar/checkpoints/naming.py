"""Checkpoint file names, which usually contain the epoch and validation loss.

cv/lm_lstm_epoch0.95_2.0681.npz         char-rnn's naming convention
cv/lm_lstm_epoch0.95_2.0681-2.npz       the same, if the first file already exists
cv/lm_lstm_epoch0.31_interrupted.npz    interrupted before the loss was measured
cv/lm_lstm_latest.npz                   saved between evaluations, and overwritten as the run continues
"""

import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path

PATTERN = re.compile(
    r"lm_[^/\\]+_(?:epoch\d+\.\d\d_(?:(\d+\.\d{4})|interrupted|unmeasured)|(latest))(?:-\d+)?\.npz"
)


def checkpoint_name(savefile: str, epoch: float, val_loss: float | None, stopped: bool) -> str:
    """Return the file name for a checkpoint. It contains the validation loss if that was measured."""
    unmeasured = "interrupted" if stopped else "unmeasured"
    label = unmeasured if val_loss is None else f"{val_loss:.4f}"
    return f"lm_{savefile}_epoch{epoch:.2f}_{label}.npz"


def latest_path(folder: Path, savefile: str) -> Path:
    """Return the path of the checkpoint saved between evaluations."""
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


def to_delete(paths: Sequence[Path], keep: int) -> list[Path]:
    """Return the checkpoints of a run to delete: all except the newest and the `keep` best.

    `paths` lists the checkpoints from oldest to newest. If losses are equal, newer checkpoints are better.
    """
    ranked = sorted(enumerate(paths), key=lambda item: (loss_in_name(item[1]), -item[0]))
    return [path for _, path in ranked[keep:] if path != paths[-1]]
