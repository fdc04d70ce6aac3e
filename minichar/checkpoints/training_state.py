"""The training state that a checkpoint stores so that a run can be resumed exactly."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from minichar.checks import at_least, between, check
from minichar.history import LARGEST, History


@dataclass(frozen=True)
class Progress:
    """The progress of a training run, as stored in the checkpoint header."""

    iteration: Annotated[int, between(1, LARGEST)]  # number of completed training steps
    first_loss: Annotated[float, between(0, LARGEST)]  # loss on the first chunk of the run
    learned: Annotated[int, at_least(0)]  # number of training steps since the last evaluation
    total: Annotated[float, at_least(0)]  # sum of the losses since the last evaluation
    device: str  # cpu, gpu or opencl
    random: dict[str, Any]  # state of the random number generator for dropout masks and scheduled sampling
    threads: Annotated[int, at_least(0)]  # number of threads for matrix products; 0 if it was not limited

    def __post_init__(self) -> None:
        check(self)


@dataclass
class TrainingState:
    """The training state, excluding the model."""

    mean_square: np.ndarray  # (P,), m: RMSprop's running mean of the squared gradients
    state: np.ndarray  # (L, S, H, B), the recurrent state at the start of the next chunk
    progress: Progress
    history: History = field(default_factory=History)
    theta: np.ndarray | None = None  # (P,), θ: the weights being trained, if the model's are their average
