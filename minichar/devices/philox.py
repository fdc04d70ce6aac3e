"""Philox4x32-10, a counter-based random number generator (Salmon, Moraes, Dror & Shaw 2011).

A counter x of four 32-bit words is encrypted in ten rounds with a key k of two words:

    x₀, x₁, x₂, x₃ ← hi(M₁x₂) ⊕ x₁ ⊕ k₀, lo(M₁x₂), hi(M₀x₀) ⊕ x₃ ⊕ k₁, lo(M₀x₀)
    k₀, k₁ ← k₀ + W₀, k₁ + W₁

hi and lo are the upper and lower 32 bits of a 64-bit product. The four resulting words are random and
independent of those for any other counter or key. Each word depends only on its counter and key, so a single
GPU kernel can fill an array of any size.
"""

from functools import lru_cache
from types import ModuleType

import numpy as np

from minichar.devices.backend import Array, Backend

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
ROUNDS = 10
WORD, MASK = np.uint64(32), np.uint64(0xFFFFFFFF)


Words = tuple[Array, Array, Array, Array]


def encrypt(x0: Array, x1: Array, x2: Array, x3: Array, k0: Array, k1: Array) -> Words:
    """Return four random words for each counter. All arguments are uint64, with values below 2³²."""
    for _ in range(ROUNDS):
        product0, product1 = x0 * M0, x2 * M1
        x0, x1 = (product1 >> WORD) ^ x1 ^ k0, product1 & MASK
        x2, x3 = (product0 >> WORD) ^ x3 ^ k1, product0 & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return x0, x1, x2, x3


def float32(xp: ModuleType, i: Array, k0: Array, k1: Array) -> tuple[tuple[Array, ...]]:
    """Return four uniform 24-bit random numbers in [0, 1) for each counter (i, 0, 0, 0)."""
    zero = i ^ i
    return (tuple((x >> np.uint64(8)) * 2.0**-24 for x in encrypt(i, zero, zero, zero, k0, k1)),)


def float64(xp: ModuleType, i: Array, k0: Array, k1: Array) -> tuple[tuple[Array, ...]]:
    """Return two uniform 53-bit random numbers in [0, 1) for each counter (i, 0, 0, 0)."""
    zero = i ^ i
    x0, x1, x2, x3 = encrypt(i, zero, zero, zero, k0, k1)
    pairs = (x0, x1), (x2, x3)
    return (tuple(((a >> np.uint64(5)) * 2.0**26 + (b >> np.uint64(6))) * 2.0**-53 for a, b in pairs),)


class Philox:
    """Philox generator that draws arrays of uniform random numbers on a device.

    Parameters
    ----------
    backend : Backend
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.kernels = {"float32": (backend.fuse(float32), 4), "float64": (backend.fuse(float64), 2)}
        # Cache the counters for the four most recent sizes, because creating them launches a kernel.
        self.counters = lru_cache(4)(lambda n: backend.xp.arange(n, dtype="uint64")[None])  # (1, n)

    def draw(self, seed: int, shape: tuple[int, ...], dtype: str) -> Array:
        """Return uniform random numbers in [0, 1). Different seeds below 2⁶⁴ give independent streams."""
        kernel, each = self.kernels[dtype]
        size = int(np.prod(shape))
        out = self.backend.xp.empty((each, -(-size // each)), dtype)  # (each, counters)
        key = np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)
        kernel(self.counters(out.shape[1]), *key, into=[(0, out)])
        return out.reshape(-1)[:size].reshape(shape)
