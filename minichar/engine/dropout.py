"""Inverted dropout between layers and before the read-out (Srivastava et al. 2014; Zaremba et al. 2014).

    y = mask ∘ h         mask = 0 with the drop probability, else 1 / (1 - drop probability)
    dh = mask ∘ dy

A fresh mask each time step, so E[y] = h and nothing has to be scaled when the network is used.
"""

from minichar.devices.backend import Array, Backend
from minichar.devices.random import Uniform


def draw_mask(probability: float, generator: Uniform, out: Array, backend: Backend) -> None:
    """Fill `out`, of any shape, with a fresh mask for a drop probability in [0, 1)."""
    kept = generator.random(out.shape, "float32") >= probability
    backend.xp.multiply(kept.astype(out.dtype), 1.0 / (1.0 - probability), out=out)


def forward(h: Array, mask: Array) -> Array:
    """Return ``mask ∘ h``."""
    return mask * h


def backward(dy: Array, mask: Array) -> Array:
    """Return ``mask ∘ dy``."""
    return mask * dy
