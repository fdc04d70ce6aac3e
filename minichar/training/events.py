"""Events of a training run."""

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
    """A training step was completed."""

    iteration: int
    epoch: float
    value: Array = field(repr=False)
    to_host: Callable[[Array], np.ndarray] = field(repr=False, compare=False)

    @cached_property
    def loss(self) -> float:
        """Mean loss of the chunk before the update, in nats per character.

        The first access copies the value from the device, so access it only when needed. After an
        access, the trainer checks the loss before it continues.
        """
        return float(self.to_host(self.value))


@dataclass(frozen=True)
class Evaluated:
    """The model was evaluated.

    Attributes
    ----------
    iteration : int
        Number of completed training steps.
    epoch : float
    train_loss : float
        Mean loss since the previous evaluation, with dropout and scheduled sampling.
    val, fit : Evaluation or None
        Results on the validation part and on the same number of training chunks, both without
        dropout and scheduled sampling. None if there is no validation part.
    learning_rate, teacher_forcing_ratio : float
        Values in the current epoch.
    """

    iteration: int
    epoch: float
    train_loss: float
    val: Evaluation | None
    fit: Evaluation | None
    learning_rate: float
    teacher_forcing_ratio: float

    def row(self) -> dict[str, Any]:
        """Return the row for the checkpoint's history and the log, as JSON-compatible values.

        For compatibility, the teacher-forcing ratio is stored as ``true_share``.
        """
        row = asdict(self)
        row["true_share"] = row.pop("teacher_forcing_ratio")
        return row


@dataclass(frozen=True)
class Saved:
    """A checkpoint was saved; `best` is True if no earlier checkpoint has a lower validation loss."""

    path: Path
    best: bool


Event = Step | Evaluated | Saved
