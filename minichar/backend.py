"""The array module the engine computes with, and the few things a device does in its own way.

The engine asks a `Backend` for its array module ``xp`` and never imports one itself,
so the same equations run wherever the arrays live. Here: NumPy on the CPU.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""An array of the backend's module. The shape stands in a comment where one is made."""


@dataclass(frozen=True)
class Backend:
    """A device: its name and its array module.

    Attributes
    ----------
    name : str
        What the user calls the device.
    xp : module
        The array module, with NumPy's function names.
    """

    name: str
    xp: ModuleType

    def to_device(self, array: Array) -> Array:
        """Bring a host array to the device; shape and dtype stay."""
        return self.xp.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        """Bring a device array to the host; shape and dtype stay."""
        return np.asarray(array)

    def generator(self, *seed: int) -> np.random.Generator:
        """Return a generator of random numbers; other words of seed, an independent stream."""
        return np.random.default_rng(seed)

    def take_columns(self, W: Array, ids: Array, out: Array) -> None:
        """``out[:, j] = W[:, ids[j]]``: the columns of W ``(G, V)`` for ids ``(B,)`` into out ``(G, B)``."""
        # Without mode="clip" NumPy fills a buffer of its own first and copies it into out.
        self.xp.take(W, ids, axis=1, out=out, mode="clip")


CPU = Backend("cpu", np)
