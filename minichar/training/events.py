"""Events of a training run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minichar.devices.backend import Array
from minichar.history import COLUMNS, Row
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

        The first access copies the loss from the device, so read `loss` only when needed. If `loss` is
        read before training continues, the trainer checks that it is finite and not too large.
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
        Results on the validation split and on the same number of training chunks (or all, if there are
        fewer), both without dropout or scheduled sampling. None if there is no validation split, or if the
        time limit was reached.
    learning_rate, teacher_forcing_ratio : float
        Values at the last step before the evaluation.
    shortened : Evaluation or None
        Result on the first validation chunks if the time limit was reached before all were evaluated. Its
        loss is not comparable with that of `val`, so it is neither in the history nor in the checkpoint's
        name.
    """

    iteration: int
    epoch: float
    train_loss: float
    val: Evaluation | None
    fit: Evaluation | None
    learning_rate: float
    teacher_forcing_ratio: float
    shortened: Evaluation | None = None

    def record(self) -> dict[str, Any]:
        """Return the log record as a JSON-compatible dict."""
        return asdict(self)

    def row(self) -> Row:
        """Return the evaluation as a row of the training history (`minichar.history`)."""
        losses = {
            f"{part}_{name}": getattr(evaluation, name) if evaluation else None
            for part, evaluation in (("val", self.val), ("fit", self.fit))
            for name in ("loss", "first", "last")
        }
        return {name: vars(self)[name] for name in COLUMNS if name not in losses} | losses


@dataclass(frozen=True)
class Extended:
    """The run was extended, because much of its time was left after the planned epochs.

    `epochs` is the new value of `max_epochs`. `warmup` is that of `warmup`, for as many warm-up steps.
    """

    epochs: float
    warmup: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint was saved to `path`.

    `best` is True if its validation loss was measured and is the lowest so far, and `latest` if it was saved
    between evaluations and will be overwritten. `warning` is a problem that did not prevent the checkpoint
    from being saved; empty if there is none.
    """

    path: Path
    best: bool = False
    latest: bool = False
    warning: str = ""


@dataclass(frozen=True)
class Warned:
    """A warning was issued; `message` is a single line."""

    message: str


@dataclass(frozen=True)
class EndedEarly:
    """Training ended before `max_epochs`; `reason` is a single line."""

    reason: str


@dataclass(frozen=True)
class Measured:
    """The best checkpoint was evaluated on a whole file (`minichar.training.final`).

    `part` is ``val`` or ``test``. `result` is None if there was no time left.
    """

    part: str
    result: Evaluation | None


Event = Step | Evaluated | Extended | Saved | Warned | EndedEarly | Measured
