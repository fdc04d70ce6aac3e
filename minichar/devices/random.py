"""Uniform random numbers with a state that a checkpoint can hold."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

Array = Any
Real = Literal["float32", "float64"]


class Uniform:
    """Uniform random numbers in [0, 1) from a generator on the device, whose state can be saved."""

    def __init__(self, words: tuple[int, ...]) -> None:
        self.generator = np.random.default_rng(words)

    def random(self, shape: tuple[int, ...], dtype: Real = "float64") -> Array:
        """Return fresh numbers of this shape and dtype."""
        return self.generator.random(shape, dtype=dtype)

    @property
    def state(self) -> dict[str, Any]:
        """All that decides the numbers to come, as plain JSON values."""
        return dict(self.generator.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if min(state["state"].values()) < 0:  # NumPy 1 would take it modulo 2^128
            raise ValueError("a state of random numbers cannot be negative")
        self.generator.bit_generator.state = state


class CountedUniform(Uniform):
    """The same where a device's generator cannot tell its state: every block has a generator of its own.

    Block n is drawn with a seed made from the seed's words and n, so the count is the state.
    """

    def __init__(self, words: tuple[int, ...], draw: Callable[[int, tuple[int, ...], Real], Array]) -> None:
        self.words, self.draw, self.blocks = words, draw, 0

    def random(self, shape: tuple[int, ...], dtype: Real = "float64") -> Array:
        """Return fresh numbers of this shape and dtype."""
        seed = np.random.SeedSequence((*self.words, self.blocks)).generate_state(1)
        self.blocks += 1
        return self.draw(int(seed[0]), shape, dtype)

    @property
    def state(self) -> dict[str, Any]:
        """How many blocks have been drawn."""
        return {"blocks": self.blocks}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        blocks = int(state["blocks"])
        if blocks < 0:
            raise ValueError(f"{blocks} blocks of random numbers cannot have been drawn")
        self.blocks = blocks
