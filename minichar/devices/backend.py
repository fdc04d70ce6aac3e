"""The protocol that every device implements, so that no other file has to tell them apart.

The engine asks a `Backend` for its array module ``xp``, which has NumPy's function names on
every device, and for the few operations that each device does in its own way: moving arrays to
it and back, random numbers, products, gathering and scattering columns, fusing element-wise
functions, and recording a step to replay it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from minichar.devices.random import Uniform
from minichar.errors import MinicharError

Array = Any
"""An array of the backend's module. The shape is in a comment on the line that makes one."""
Function = Callable[..., Any]


class Backend(ABC):
    """A device.

    Attributes
    ----------
    name : str
        What the user calls it: ``cpu``, ``gpu:0``, ``opencl:0``.
    xp : module
        The array module.
    crossings : dict of str to int
        How many arrays were copied to the device and to the host.
    """

    xp: ModuleType
    name: str

    def __init__(self, name: str, xp: ModuleType) -> None:
        self.name, self.xp = name, xp
        self.crossings = {"to_device": 0, "to_host": 0}

    @property
    def kind(self) -> str:
        """The name without its number: ``cpu``, ``gpu`` or ``opencl``."""
        return self.name.partition(":")[0]

    def to_device(self, array: Array) -> Array:
        """Copy a host array to the device; shape and dtype stay."""
        self.crossings["to_device"] += 1
        return self._to_device(array)

    def to_host(self, array: Array) -> np.ndarray:
        """Copy a device array to the host; shape and dtype stay."""
        self.crossings["to_host"] += 1
        return self._to_host(array)

    def _to_device(self, array: Array) -> Array:
        return self.xp.asarray(array)

    def _to_host(self, array: Array) -> np.ndarray:
        return self.xp.asnumpy(array)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return zeros on the device."""
        return self.xp.zeros(shape, dtype=dtype)

    @abstractmethod
    def uniform(self, *words: int) -> Uniform:
        """Return uniform random numbers drawn on the device; other words, an independent stream."""

    def matmul(self, W: Array, s: Array) -> Array:
        """Return ``W @ s``, the product of a layer's weights ``(G, K)`` and inputs ``(K, B)``."""
        return self.xp.matmul(W, s)

    def take_columns(self, W: Array, ids: Array, out: Array) -> None:
        """``out[:, j] = W[:, ids[j]]``: the columns of W ``(G, V)`` for ids ``(B,)`` into out ``(G, B)``.

        Ids out of range are not detected: the caller keeps them in 0 … V-1.
        """
        # Without mode="clip" NumPy fills a buffer of its own first and copies it into out.
        self.xp.take(W, ids, axis=1, out=out, mode="clip")

    def sum_columns(self, columns: Array, ids: Array, out: Array) -> None:
        """``out[:, k] = Σ columns[:, j] over ids[j] = k``: columns ``(G, N)``, ids ``(N,)``, out ``(G, V)``.

        One product with the one-hot matrix of the ids that occur: a chunk of text holds few
        different characters, and a product is faster than a scattered sum.
        """
        xp = self.xp
        seen, place = xp.unique(ids, return_inverse=True)  # (S,), (N,)
        onehot = self.zeros((len(ids), len(seen)), columns.dtype)  # (N, S)
        xp.put_along_axis(onehot, place[:, None], 1.0, axis=1)
        out[...] = 0.0
        out[:, seen] = xp.matmul(columns, onehot)  # (G, S)

    def fuse(self, function: Function) -> Function:
        """Return ``function(xp, *arguments)``, a pure element-wise function, as one call without ``xp``.

        Arguments and results are arrays of one shape ``(H, B)`` or tuples of them; an argument may
        also be a block of them, ``(G, H, B)``, which reaches the function as a block or as a tuple.
        """
        xp = self.xp
        return lambda *arguments: function(xp, *arguments)

    def recorded(self, step: Function) -> Function:
        """Return `step`, a computation on arrays that stay in place, in its fastest form."""
        return step

    @abstractmethod
    def describe(self) -> str:
        """Say what computes, such as ``NumPy 2.4.6 with scipy-openblas 0.3.31, up to 2 threads``."""


def unusable(device: str, what: str, error: Exception, remedy: str) -> MinicharError:
    """Return the error that says why a device which is there cannot be used, in one line."""
    why = f"{type(error).__name__}: {error}".splitlines()[0]
    return MinicharError(f"--device {device}: {what} ({why}): {remedy}")
