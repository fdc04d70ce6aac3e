"""The CPU backend, which uses NumPy."""

import os

import numpy as np

from minichar.devices.backend import Array, Backend
from minichar.devices.random import Uniform

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
ONE = "1 thread"


def threads() -> str:
    """Describe the BLAS thread count: an environment variable or, if none is set, the number of cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = next((os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)), str(cores))
    return ONE if most == "1" else f"up to {most} threads"


class NumPyBackend(Backend):
    """Backend for the CPU, using NumPy."""

    def __init__(self) -> None:
        super().__init__("cpu", np)

    def uniform(self, *words: int) -> Uniform:
        """Return a uniform random number generator, seeded with `words`."""
        return Uniform(words)

    def describe(self) -> str:
        """Return a description such as ``NumPy 2.4.6 with scipy-openblas 0.3.31, up to 2 threads``."""
        blas = np.show_config(mode="dicts")["Build Dependencies"].get("blas", {})
        name = f"{blas.get('name', 'an unknown BLAS')} {blas.get('version', '')}".strip()
        return f"NumPy {np.__version__} with {name}, {threads()}"

    def to_host(self, array: Array) -> np.ndarray:
        """Return the array."""
        return np.asarray(array)


CPU = NumPyBackend()


def host_generator(*words: int) -> np.random.Generator:
    """Return a NumPy generator for weights and samples, which must not depend on the device."""
    return np.random.default_rng(words)
