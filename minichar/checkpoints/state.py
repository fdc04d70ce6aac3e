"""The training state that a checkpoint stores so that a run can be resumed exactly."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from minichar.checks import at_least, between, check
from minichar.errors import MinicharError
from minichar.history import LARGEST, History


@dataclass(frozen=True)
class Progress:
    """The progress of a training run, as stored in the checkpoint header.

    Attributes
    ----------
    iteration : int
        Number of completed training steps.
    first_loss : float
        Loss on the first chunk of the run.
    learned : int
        Number of training steps since the last evaluation.
    total : float
        Sum of the losses since the last evaluation.
    device : str
        Kind of device: ``cpu``, ``gpu`` or ``opencl``.
    random : dict
        State of the random number generator for dropout masks and scheduled sampling.
    """

    iteration: Annotated[int, between(1, LARGEST)]
    first_loss: Annotated[float, between(0, LARGEST)]
    learned: Annotated[int, at_least(0)]
    total: Annotated[float, at_least(0)]
    device: str
    random: dict[str, Any]

    def __post_init__(self) -> None:
        check(self)
        if self.learned > self.iteration:
            raise MinicharError(f"learned is {self.learned}, but only {self.iteration} steps were completed")


@dataclass
class TrainingState:
    """The training state, excluding the model.

    Attributes
    ----------
    mean_square : array, (size,)
        m, RMSprop's running mean of the squared gradients.
    state : array, (L, states per layer, H, B)
        The recurrent state at the start of the next chunk.
    progress : Progress
    history : History
    theta : array, (size,), optional
        θ, the weights being trained. None unless the model's weights are a running average of θ.
    """

    mean_square: np.ndarray
    state: np.ndarray
    progress: Progress
    history: History = field(default_factory=History)
    theta: np.ndarray | None = None
