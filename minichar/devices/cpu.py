"""The CPU, by NumPy."""


import numpy as np

from minichar.devices.backend import Array, Backend
from minichar.devices.blas import describe_numpy
from minichar.devices.random import Uniform


class NumPyBackend(Backend):
    """The CPU."""

    def __init__(self) -> None:
        super().__init__("cpu", np)

    def uniform(self, *words: int) -> Uniform:
        """Return uniform random numbers; other words, an independent stream."""
        return Uniform(words)

    def describe(self) -> str:
        """Say what computes."""
        return describe_numpy()

    def _to_host(self, array: Array) -> np.ndarray:
        return np.asarray(array)


CPU = NumPyBackend()


def host_generator(*words: int) -> np.random.Generator:
    """Return a generator on the host, for what must not depend on the device: weights and samples."""
    return np.random.default_rng(words)
