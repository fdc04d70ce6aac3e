"""What a training run tells while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from minichar.devices.backend import Array
from minichar.training.evaluation import Evaluation


@dataclass(frozen=True)
class Step:
    """One chunk was learned."""

    iteration: int
    epoch: float
    value: Array = field(repr=False)
    look: Callable[[Array], float] = field(repr=False, compare=False)

    @property
    def loss(self) -> float:
        """The chunk's mean loss in nats per character, before the update.

        Asking brings it from the device and checks it, which need not be done for every chunk.
        """
        return self.look(self.value)


@dataclass(frozen=True)
class Evaluated:
    """The model was measured.

    `train_loss` is the mean since the time before, with dropout and scheduled sampling as they were.
    `val` is measured without them, and `fit` is what the same measurement gives on as much of the text
    that was learned; both are None without a validation part.
    """

    iteration: int
    epoch: float
    train_loss: float
    val: Evaluation | None
    fit: Evaluation | None
    learning_rate: float
    true_share: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written; `best` if none before had a lower validation loss."""

    path: Path
    best: bool


Event = Step | Evaluated | Saved
