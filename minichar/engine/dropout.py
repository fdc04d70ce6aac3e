"""Inverted dropout between layers and before the readout (Srivastava et al. 2014; Zaremba et al. 2014).

    y = mask ∘ h         mask = 0 with probability p, otherwise 1 / (1 - p)
    dh = mask ∘ dy

A new mask is drawn for each time step. Since E[y] = h, no scaling is needed at inference.

DropConnect (Wan et al. 2013) drops weights instead of activations. Applied to the recurrent weights, with one
mask per chunk, DropConnect regularises the recurrence itself (Merity, Keskar & Socher 2018):

    W_h ← mask ∘ W_h
    dW_h = mask ∘ dW_h
"""

from minichar.devices.backend import Array, Function
from minichar.devices.random import Uniform


def draw_mask(probability: float, generator: Uniform, out: Array) -> None:
    """Fill `out`, an array of any shape, with a new mask. `probability` is in [0, 1)."""
    generator.drop(probability, 1.0 / (1.0 - probability), out)


def forward(h: Array, mask: Array) -> Array:
    """Return ``mask ∘ h``, or ``mask ∘ W_h`` for weights."""
    return mask * h


def on_steps(function: Function, mask: Array, arrays: list[Array], steps: int | slice) -> None:
    """Apply `forward` or `backward` to one or more steps of arrays ``(T, H, B)``."""
    for array in arrays:
        array[steps] = function(array[steps], mask[steps])


def backward(dy: Array, mask: Array) -> Array:
    """Return ``mask ∘ dy``, or ``mask ∘ dW_h`` for weights."""
    return mask * dy
