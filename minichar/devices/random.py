"""Uniform random number generators whose state can be saved in a checkpoint."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np

Array = Any
Real = Literal["float32", "float64"]


class Uniform:
    """Generator of uniform random numbers in [0, 1), with a state that can be saved."""

    def __init__(self, words: tuple[int, ...]) -> None:
        self.generator = np.random.default_rng(words)

    def random(self, shape: tuple[int, ...], dtype: Real = "float64") -> Array:
        """Return new random numbers with the given shape and dtype."""
        return self.generator.random(shape, dtype=dtype)

    def fill(self, out: Array) -> None:
        """Set the elements of `out`, an array of float32 or float64, to new random numbers."""
        out[...] = self.random(out.shape, out.dtype.name)

    def drop(self, probability: float, value: float, out: Array) -> None:
        """Set each element of `out` to 0 with the given probability, and otherwise to `value`."""
        out[...] = self.random(out.shape, "float32") >= probability
        out *= value  # faster than np.where on a CPU

    def bernoulli(self, probability: float, out: Array) -> None:
        """Set each element of `out`, an array of bool, to True with the given probability."""
        out[...] = self.random(out.shape) < probability

    @property
    def shared(self) -> "Uniform":
        """Generator of random numbers shared by all sequences in a batch, used for DropConnect masks."""
        return self

    @property
    def state(self) -> dict[str, Any]:
        """The state of the generator, as JSON-compatible values."""
        return dict(self.generator.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if min(state["state"].values()) < 0:  # NumPy 1 would reduce negative values modulo 2^128
            raise ValueError("the state of a random number generator cannot be negative")
        self.generator.bit_generator.state = state


class CountedUniform(Uniform):
    """Base class of generators for devices whose generator state cannot be saved.

    Each block of numbers is drawn from a new generator, seeded with `words` and the number of previous
    blocks, which is the state.
    """

    def __init__(self, words: tuple[int, ...]) -> None:
        self.words, self.blocks = words, 0

    def next_seed(self) -> int:
        """Return the seed of the next block, a number below 2⁶⁴."""
        seed = np.random.SeedSequence((*self.words, self.blocks)).generate_state(1, "uint64")
        self.blocks += 1
        return int(seed[0])

    @property
    def state(self) -> dict[str, Any]:
        """Number of blocks drawn."""
        return {"blocks": self.blocks}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        blocks = int(state["blocks"])
        if blocks < 0:
            raise ValueError(f"the number of blocks drawn is {blocks}; it must be at least 0")
        self.blocks = blocks


class ColumnsOf(Uniform):
    """Generator of uniform random numbers for some of the B sequences in a batch.

    Numbers are drawn for all B sequences, so they do not depend on how a batch is divided among processes.
    ``zeros(shape, dtype)`` returns an array on the device (`Backend.zeros`).
    """

    def __init__(
        self, generator: Uniform, columns: slice, B: int, zeros: Callable[[tuple[int, ...], Any], Array]
    ) -> None:
        self.whole, self.columns, self.B = generator, columns, B
        # Keep one array for each kind of mask, because creating an array launches a kernel.
        self.batch = lru_cache(4)(lambda shape, dtype: zeros((*shape[:-1], B), dtype))  # (…, B)

    def fill(self, out: Array) -> None:
        """Set the elements of `out`, an array of float32 or float64, to new random numbers."""
        self._take(out, self.whole.fill)

    def drop(self, probability: float, value: float, out: Array) -> None:
        """Set each element of `out` to 0 with the given probability, and otherwise to `value`."""
        self._take(out, partial(self.whole.drop, probability, value))

    def bernoulli(self, probability: float, out: Array) -> None:
        """Set each element of `out`, an array of bool, to True with the given probability."""
        self._take(out, partial(self.whole.bernoulli, probability))

    def _take(self, out: Array, draw: Callable[[Array], None]) -> None:
        batch = self.batch(out.shape, out.dtype)
        draw(batch)
        out[...] = batch[..., self.columns]

    @property
    def shared(self) -> Uniform:
        """Generator whose random numbers are shared by all sequences in a batch."""
        return self.whole

    @property
    def state(self) -> dict[str, Any]:
        """The state of the generator for all sequences."""
        return self.whole.state

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.whole.state = state
