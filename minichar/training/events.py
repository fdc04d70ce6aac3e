"""The events of a training run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minichar.devices.backend import Array
from minichar.training.evaluation import Evaluation


@dataclass(frozen=True)
class Step:
    """One training step is done."""

    iteration: int
    epoch: float
    value: Array = field(repr=False)
    look: Callable[[Array], float] = field(repr=False, compare=False)

    @property
    def loss(self) -> float:
        """The mean loss of the chunk before the update, in nats per character.

        Reading it copies the value from the device and checks it, so read it only when needed.
        """
        return self.look(self.value)


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
