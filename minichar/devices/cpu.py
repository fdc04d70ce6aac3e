"""The CPU backend, which uses NumPy."""

import numpy as np

from minichar.devices.backend import Array, Backend
from minichar.devices.random import Uniform
from minichar.devices.threads import clearly_faster, limit, usual


class NumPyBackend(Backend):
    """Backend for the CPU, using NumPy."""

    def __init__(self) -> None:
        super().__init__("cpu", np)

    def uniform(self, *words: int) -> Uniform:
        """Return a uniform random number generator, seeded with `words`."""
        return Uniform(words)

    def take_columns(self, W: Array, ids: Array, out: Array) -> None:
        """Set ``out[t, :, b] = W[:, ids[t, b]]``."""
        for t in range(len(ids)):  # faster than iterating over the arrays
            W.take(ids[t], axis=1, out=out[t], mode="wrap")  # by default, NumPy buffers `out`

    def describe(self) -> str:
        """Return a description such as ``NumPy 2.4.6 with scipy-openblas 0.3.31, up to 2 threads``."""
        blas = np.show_config(mode="dicts")["Build Dependencies"].get("blas", {})
        name = f"{blas.get('name', 'an unknown BLAS')} {blas.get('version', '')}".strip()
        most = str(self.threads or usual())
        threads = "1 thread" if most == "1" else f"up to {most} threads"
        return f"NumPy {np.__version__} with {name}, {threads}"

    def limit_threads(self, threads: int) -> None:
        """Set the number of threads for matrix products, unless an environment variable sets it."""
        self.threads = limit(threads)

    def fit_threads(self, M: int, K: int, N: int) -> None:
        """Limit the number of threads if this speeds up chunks of N streams and ``(M, K)`` weights."""
        self.limit_threads(clearly_faster(M, K, N))

    def to_host(self, array: Array) -> np.ndarray:
        """Return the array."""
        return np.asarray(array)


CPU = NumPyBackend()


def host_generator(*words: int) -> np.random.Generator:
    """Return a NumPy generator for weights and samples, which must not depend on the device."""
    return np.random.default_rng(words)
