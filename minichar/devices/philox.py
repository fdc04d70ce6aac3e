"""Philox4x32-10, a counter-based random number generator (Salmon, Moraes, Dror & Shaw 2011).

A counter x of four 32-bit words is encrypted in ten rounds with a key k of two words:

    x₀, x₁, x₂, x₃ ← hi(M₁x₂) ⊕ x₁ ⊕ k₀, lo(M₁x₂), hi(M₀x₀) ⊕ x₃ ⊕ k₁, lo(M₀x₀)
    k₀, k₁ ← k₀ + W₀, k₁ + W₁

hi and lo are the upper and lower 32 bits of a 64-bit product. The four resulting words are random and
independent of those for any other counter or key. Each word depends only on its counter and key, so a single
GPU kernel can fill an array of any size with random numbers, or with a mask computed from them.
"""

from functools import lru_cache
from types import ModuleType

import numpy as np

from minichar.devices.backend import Array, Backend, Function
from minichar.devices.random import CountedUniform, Real

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


def drop(xp: ModuleType, i: Array, k0: Array, k1: Array, p: Array, value: Array) -> tuple[tuple[Array, ...]]:
    """Return four values for each counter: 0 with probability p (a float32), and otherwise `value`."""
    (numbers,) = float32(xp, i, k0, k1)
    return (tuple((u >= p) * value for u in numbers),)


def bernoulli(xp: ModuleType, i: Array, k0: Array, k1: Array, p: Array) -> tuple[tuple[Array, ...]]:
    """Return two values for each counter: True with probability p (a float64), and otherwise False."""
    (numbers,) = float64(xp, i, k0, k1)
    return (tuple(u < p for u in numbers),)


class Philox:
    """Kernels that fill arrays on a device with random numbers or masks.

    Parameters
    ----------
    backend : Backend
    """

    def __init__(self, backend: Backend) -> None:
        self.xp = backend.xp
        functions: dict[Function, int] = {float32: 4, float64: 2, drop: 4, bernoulli: 2}
        self.kernels = {function: (backend.fuse(function), each) for function, each in functions.items()}
        # Cache the counters for the four most recent sizes, because creating them launches a kernel.
        self.counters = lru_cache(4)(lambda n: backend.xp.arange(n, dtype="uint64")[None])  # (1, n)

    def fill(self, out: Array, seed: int, function: Function, *arguments: np.generic) -> None:
        """Set the elements of `out` to results of `function`.

        Different seeds below 2⁶⁴ give independent streams.
        """
        kernel, each = self.kernels[function]
        n = -(-out.size // each)
        in_place = out.flags.c_contiguous and out.size == n * each
        block = out.reshape(each, n) if in_place else self.xp.empty((each, n), out.dtype)
        key = np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)
        kernel(self.counters(n), *key, *arguments, into=[(0, block)])
        if not in_place:
            out[...] = block.reshape(-1)[: out.size].reshape(out.shape)


class PhiloxUniform(CountedUniform):
    """Generator of uniform random numbers that fills an array or a mask with a single kernel."""

    def __init__(self, words: tuple[int, ...], philox: Philox) -> None:
        super().__init__(words)
        self.philox = philox

    def random(self, shape: tuple[int, ...], dtype: Real = "float64") -> Array:
        """Return new random numbers with the given shape and dtype."""
        out = self.philox.xp.empty(shape, dtype)
        self.fill(out)
        return out

    def fill(self, out: Array) -> None:
        """Set the elements of `out`, an array of float32 or float64, to new random numbers."""
        self.philox.fill(out, self.next_seed(), float32 if out.dtype == "float32" else float64)

    def drop(self, probability: float, value: float, out: Array) -> None:
        """Set each element of `out` to 0 with the given probability, and otherwise to `value`."""
        self.philox.fill(out, self.next_seed(), drop, np.float32(probability), out.dtype.type(value))

    def bernoulli(self, probability: float, out: Array) -> None:
        """Set each element of `out`, an array of bool, to True with the given probability."""
        self.philox.fill(out, self.next_seed(), bernoulli, np.float64(probability))
