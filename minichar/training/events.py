"""The events of a training run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minichar.devices.backend import Array
from minichar.training.evaluation import Evaluation


@dataclass(frozen=True)
class Step:
    """One training step is done."""

    iteration: int
    epoch: float
    value: Array = field(repr=False)
    to_host: Callable[[Array], np.ndarray] = field(repr=False, compare=False)

    @cached_property
    def loss(self) -> float:
        """The mean loss of the chunk before the update, in nats per character.

        The first access copies it from the device, so read it only when needed. The trainer checks
        a loss that has been read before it goes on.
        """
        return float(self.to_host(self.value))


@dataclass(frozen=True)
class Evaluated:
    """The model was evaluated.

    Attributes
    ----------
    iteration : int
        Training steps done.
    epoch : float
    train_loss : float
        Mean loss since the previous evaluation, with dropout and scheduled sampling.
    val, fit : Evaluation or None
        On the validation part, and on as many training chunks; both without dropout and scheduled
        sampling. None without a validation part.
    learning_rate, teacher_forcing_ratio : float
        Those of the epoch.
    """

    iteration: int
    epoch: float
    train_loss: float
    val: Evaluation | None
    fit: Evaluation | None
    learning_rate: float
    teacher_forcing_ratio: float

    def row(self) -> dict[str, Any]:
        """Return the row for a checkpoint's history and for the log, as plain JSON values.

        In the files, the teacher-forcing ratio has always been called ``true_share``.
        """
        row = asdict(self)
        row["true_share"] = row.pop("teacher_forcing_ratio")
        return row


@dataclass(frozen=True)
class Saved:
    """A checkpoint was saved; `best` if no earlier one has a lower validation loss."""

    path: Path
    best: bool


Event = Step | Evaluated | Saved
