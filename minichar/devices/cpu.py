"""The CPU backend, which uses NumPy."""

import numpy as np

from minichar.devices.backend import Array, Backend
from minichar.devices.blas import describe_numpy
from minichar.devices.random import Uniform


class NumPyBackend(Backend):
    """Backend for the CPU, using NumPy."""

    def __init__(self) -> None:
        super().__init__("cpu", np)

    def uniform(self, *words: int) -> Uniform:
        """Return a uniform random number generator, seeded with `words`."""
        return Uniform(words)

    def platform(self) -> str:
        """Describe NumPy, its BLAS library and the thread count."""
        return describe_numpy()

    def to_host(self, array: Array) -> np.ndarray:
        """Return the array."""
        return np.asarray(array)


CPU = NumPyBackend()


def host_generator(*words: int) -> np.random.Generator:
    """Return a NumPy generator for weights and samples, which must not depend on the device."""
    return np.random.default_rng(words)
