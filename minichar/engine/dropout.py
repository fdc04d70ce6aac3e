"""Inverted dropout between layers and before the read-out (Srivastava et al. 2014; Zaremba et al. 2014).

    y = mask ∘ h         mask = 0 with the drop probability, else 1 / (1 - drop probability)
    dh = mask ∘ dy

A fresh mask each time step, so E[y] = h and nothing has to be scaled when the
network is used. Until masks are drawn, y = h.
"""

from minichar.devices.backend import Array, Backend
from minichar.devices.random import Uniform


class Dropout:
    """Dropout of one layer's hidden states over a chunk.

    Parameters
    ----------
    probability : float
        The probability that a unit is dropped, 0 ≤ probability < 1.
    H, T, B : int
        Units, time steps and sequences.
    dtype : str
    backend : Backend
    """

    def __init__(self, probability: float, H: int, T: int, B: int, dtype: str, backend: Backend) -> None:
        self.probability, self.shape, self.dtype, self.backend = probability, (T, H, B), dtype, backend
        self.xp = backend.xp
        self.mask: Array | None = None

    def draw(self, generator: Uniform) -> None:
        """Draw a mask for every step of the next chunk, ``(T, H, B)``; no-op at probability 0."""
        if self.probability == 0:
            return
        if self.mask is None:
            self.mask = self.backend.zeros(self.shape, self.dtype)  # (T, H, B)
        kept = generator.random(self.shape, "float32") >= self.probability  # (T, H, B)
        self.xp.multiply(kept.astype(self.dtype), 1.0 / (1.0 - self.probability), out=self.mask)

    def step(self, t: int, h: Array, out: Array) -> None:
        """``out = mask[t] ∘ h``, both ``(H, B)``."""
        if self.mask is None:
            out[...] = h
        else:
            self.xp.multiply(self.mask[t], h, out=out)

    def backward(self, dy: Array) -> Array:
        """Return ``mask ∘ dy``, ``(n, H, B)``."""
        return dy if self.mask is None else self.mask[: len(dy)] * dy
