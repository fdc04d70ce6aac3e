"""Products whose columns are the same, bit for bit, whatever the other columns are.

A product sums K terms, and the rounding of a sum depends on the order of its terms, which the
library chooses by the number of columns, the position of a column and the thread count. Training
is not affected. Generated text may be: a difference in the last bit can change which character is
drawn, and the text differs from there on. So an exact model sums numbers that need no rounding:

    W    each row in whole multiples of its own  2^(S-28),   2^S ≥ Σ|W| along the row
    s    in whole multiples of                   2^-24,      |s| ≤ 1: hidden states, and the bias's 1

Every partial sum is a whole multiple of 2^(S-52) and, including the rounding of W, below 2^(S+1):
53 bits, which fit float64. So the order does not matter, on any device and with any library.
The grids are as fine as float32, so such a product is as accurate as one in training.
"""

from copy import copy
from types import ModuleType

import numpy as np

from minichar.devices.backend import Array, Backend
from minichar.engine.parameters import Parameters

SHIFT = 1.5 * 2.0**28
"""float64 numbers of this size are whole multiples of 2^-24: adding and subtracting it rounds to them."""


def exact(parameters: Parameters) -> Parameters:
    """Return a copy whose networks multiply exactly; its device must support float64.

    The input weights of characters are not rounded: a character selects one column, and nothing
    is summed.
    """
    backend = with_exact_products(parameters.backend)
    xp = backend.xp
    rounded = Parameters(parameters.shapes, "float64", backend)
    with np.errstate(over="ignore", invalid="ignore"):  # damaged weights show in the logits
        for name, W in rounded.items():
            W[...] = parameters[name]
            if not name.endswith(".Wx"):
                on_grid(xp, W)
    return rounded


def on_grid(xp: ModuleType, W: Array) -> None:
    """Round each row of W ``(G, K)``, in place, to whole multiples of 2^(S-28)."""
    tiny = np.finfo("float64").tiny  # so that a row of zeros has a grid
    S = xp.ceil(xp.log2(xp.maximum(xp.abs(W).sum(axis=1, keepdims=True), tiny)))  # (G, 1)
    grid = xp.exp2(S - 28)  # (G, 1)
    W[...] = xp.rint(W / grid) * grid


class ExactProducts(Backend):
    """A mix-in for a device's class that makes its `matmul` exact."""

    def matmul(self, W: Array, s: Array) -> Array:
        """Return ``W @ s``; s is first rounded to its grid, in place."""
        s += SHIFT
        s -= SHIFT
        return super().matmul(W, s)


def with_exact_products(backend: Backend) -> Backend:
    """Return the same device with exact products."""
    kind = type(backend)
    twin = copy(backend)
    twin.__class__ = type(f"Exact{kind.__name__}", (ExactProducts, kind), {})
    return twin
