"""Gradient clipping, the RMSprop optimiser with decoupled weight decay, and weight averaging.

Clipping by element (Mikolov 2012) or by norm (Pascanu, Mikolov & Bengio 2013):

    g ← min(max(g, -limit), limit)
    g ← g · min(1, limit / ‖g‖)

RMSprop (Tieleman & Hinton 2012, lecture 6e), as in Torch's ``optim.rmsprop``:

    m ← α m + (1 - α) g∘g
    θ ← θ - η g / (√m + ε)

m is initialised to zero. ε = 1e-8 is added outside the square root.

Decoupled weight decay (Loshchilov & Hutter 2019), before each step. As in PyTorch's AdamW, λ is multiplied by
the learning rate:

    θ ← (1 - η λ) θ

Weight averaging over training steps (Polyak & Juditsky 1992):

    θ̄ ← d θ̄ + (1 - d) θ          after each step
    d = min(ema, (1 + i) / (10 + i))          i = 0, 1, …, the number of earlier steps

Training updates θ, but the model is evaluated and saved with the weights θ̄. A high learning rate amplifies
the noise of individual steps. Averaging smooths out this noise, so less learning-rate decay is needed. Early
in training, θ̄ averages over about the last tenth of the steps so far. Later, θ̄ averages over about the last
1 / (1 - ema) steps.
"""

from numbers import Real
from types import ModuleType
from typing import Any

from minichar.checks import at_least, checked
from minichar.devices.backend import Array
from minichar.engine.parameters import Parameters

EPSILON = 1e-8


def clip_elements(xp: ModuleType, g: Array, limit: float) -> None:
    """Clip each element of `g` to [-`limit`, `limit`] in place, as in char-rnn."""
    xp.clip(g, -limit, limit, out=g)


def clip_norm(xp: ModuleType, g: Array, limit: float) -> None:
    """Scale `g` in place so that its Euclidean norm is at most `limit`."""
    norm = xp.sqrt((g * g).sum())
    g *= xp.minimum(1.0, limit / xp.maximum(norm, limit))


class RMSprop:
    """The RMSprop optimiser for one set of parameters.

    Parameters
    ----------
    parameters : Parameters
        Updated in place.
    decay : float
        α, the decay rate of the running mean square.
    weight_decay : float, optional
        λ, the weight decay. It applies to all parameters, including the biases.

    Attributes
    ----------
    mean_square : array, (P,)
        m, the running mean of squared gradients.

    Raises
    ------
    MinicharError
        If `weight_decay` is negative.
    """

    def __init__(self, parameters: Parameters, decay: float, weight_decay: float = 0.0) -> None:
        self.theta, self.decay = parameters.flat, decay
        self.weight_decay = checked("weight_decay", weight_decay, float, at_least(0))
        self.mean_square = parameters.backend.xp.zeros_like(self.theta)  # (P,)
        self.rate = parameters.backend.zeros((), self.theta.dtype)
        self.update = parameters.backend.fuse(self.rmsprop)

    def step(self, g: Array, learning_rate: float | Array) -> None:
        """Update the parameters with the gradient `g` ``(P,)`` and the learning rate η."""
        if isinstance(learning_rate, Real):  # fused functions take only arrays
            self.rate[...] = learning_rate
            learning_rate = self.rate
        self.update(self.theta, self.mean_square, g, learning_rate)

    def rmsprop(self, xp: ModuleType, theta: Array, m: Array, g: Array, learning_rate: Array) -> Any:
        """Update θ and m in place, with one kernel on a GPU."""
        # m ← α m + (1 - α) g∘g
        m *= self.decay
        m += g * g * (1.0 - self.decay)

        # θ ← (1 - η λ) θ
        if self.weight_decay:
            theta *= 1.0 - learning_rate * self.weight_decay

        # θ ← θ - η g / (√m + ε)
        theta -= g / (xp.sqrt(m) + EPSILON) * learning_rate
        return theta, m


def follow(xp: ModuleType, theta_bar: Array, theta: Array, d: Array) -> tuple[Array]:
    """Update the average θ̄ in place, with one kernel on a GPU."""
    # same as d θ̄ + (1 - d) θ, but with one fewer multiplication
    theta_bar += (theta - theta_bar) * (1.0 - d)
    return (theta_bar,)
