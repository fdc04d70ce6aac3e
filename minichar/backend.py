"""The array module the engine computes with, and the few things a device does in its own way.

The engine asks a `Backend` for its array module ``xp`` and never imports one itself,
so the same equations run wherever the arrays live. Here: NumPy on the CPU.
"""

import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")

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

    def describe(self) -> str:
        """Say what computes, such as ``NumPy 2.4.6 with scipy-openblas 0.3.31, up to 2 threads``."""
        blas = np.show_config(mode="dicts")["Build Dependencies"].get("blas", {})
        name = f"{blas.get('name', 'an unknown BLAS')} {blas.get('version', '')}".strip()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        wanted = next((os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)), None)
        return f"NumPy {np.__version__} with {name}, up to {wanted or cores} threads"

    def generator(self, *seed: int) -> np.random.Generator:
        """Return a generator of random numbers; other words (but a last 0), another stream."""
        return np.random.default_rng(seed)

    def take_columns(self, W: Array, ids: Array, out: Array) -> None:
        """``out[:, j] = W[:, ids[j]]``: the columns of W ``(G, V)`` for ids ``(B,)`` into out ``(G, B)``."""
        # Without mode="clip" NumPy fills a buffer of its own first and copies it into out.
        self.xp.take(W, ids, axis=1, out=out, mode="clip")


CPU = Backend("cpu", np)
