"""RMSprop as Torch's ``optim.rmsprop`` has it (Tieleman & Hinton 2012, lecture 6e).

    m ← α m + (1 - α) g∘g
    θ ← θ - η g / (√m + ε)

m starts at zero and ε = 1e-8 stands outside the root.
"""

from minichar.devices.backend import Array
from minichar.engine.parameters import Parameters

EPSILON = 1e-8


class RMSprop:
    """The optimiser of one set of parameters.

    Parameters
    ----------
    parameters : Parameters
        Updated in place.
    decay : float
        α, the share of the mean square that is kept each step.

    Attributes
    ----------
    mean_square : array, (size,)
        m.
    """

    def __init__(self, parameters: Parameters, decay: float) -> None:
        self.xp = parameters.backend.xp
        self.theta = parameters.flat
        self.decay = decay
        self.mean_square = self.xp.zeros_like(self.theta)  # (size,)
        self.scratch = self.xp.zeros_like(self.theta)  # (size,)

    def step(self, g: Array, learning_rate: float | Array) -> None:
        """Take one step down the gradient `g` ``(size,)`` with learning rate η."""
        xp, m, scratch = self.xp, self.mean_square, self.scratch

        # m ← α m + (1 - α) g∘g
        xp.multiply(g, g, out=scratch)
        xp.multiply(scratch, 1.0 - self.decay, out=scratch)
        xp.multiply(m, self.decay, out=m)
        xp.add(m, scratch, out=m)

        # θ ← θ - η g / (√m + ε)
        xp.sqrt(m, out=scratch)
        xp.add(scratch, EPSILON, out=scratch)
        xp.divide(g, scratch, out=scratch)
        xp.multiply(scratch, learning_rate, out=scratch)
        xp.subtract(self.theta, scratch, out=self.theta)
