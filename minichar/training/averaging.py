"""Weight averaging over training steps (Polyak & Juditsky 1992).

    θ̄ ← d θ̄ + (1 - d) θ          after each step
    d = min(decay, (1 + i) / (10 + i))          i = 0, 1, …, the number of earlier steps

Training updates θ, but the model is evaluated and saved with the weights θ̄. A high learning rate amplifies
the noise of individual steps. Averaging smooths out this noise, so less learning-rate decay is needed. Early
in training, θ̄ averages over about the last tenth of the steps so far. Later, θ̄ averages over about the last
1 / (1 - decay) steps.
"""

from types import ModuleType

from minichar.devices.backend import Array
from minichar.engine.parameters import Parameters


def decay_at(i: int, decay: float) -> float:
    """Return the decay rate d for step `i`, counting from 0."""
    return min(decay, (1 + i) / (10 + i))


def follow(xp: ModuleType, mean: Array, theta: Array, decay: Array) -> tuple[Array]:
    """Update θ̄ in place, with one kernel on a GPU."""
    # same as d θ̄ + (1 - d) θ, but with one fewer multiplication
    mean += (theta - mean) * (1.0 - decay)
    return (mean,)


class Average:
    """The running average of the weights in a training run.

    Parameters
    ----------
    theta : Parameters
        θ, the weights being trained.
    average : Parameters
        θ̄, updated in place.

    Attributes
    ----------
    decay : array, ()
        The decay rate d, stored on the device.
    """

    def __init__(self, theta: Parameters, average: Parameters) -> None:
        self.theta, self.average = theta.flat, average.flat
        self.decay = theta.backend.zeros((), theta.dtype)
        self.update = theta.backend.fuse(follow)

    def step(self) -> None:
        """Update the average with the current weights."""
        self.update(self.average, self.theta, self.decay)
