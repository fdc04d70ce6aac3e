"""Matrix products in which each column is bitwise independent of the others.

Each element of a matrix product is a sum of K terms, and its rounding error depends on the order of the
terms. In BLAS libraries, the order of summation depends on the number of columns, the index of the column and
the thread count. This dependence does not matter for training, but a difference in the last bit can change a
sampled character, and the generated text then diverges. An exact model therefore uses values that can be
summed without rounding:

    W    integer multiples of 2^(Q-28) in each row, where 2^Q ≥ Σ|W| over the row
    s    integer multiples of 2^-24, |s| ≤ 1: hidden states and the bias input 1

Every partial sum is an integer multiple of 2^(Q-52). Even after W is rounded, the magnitude of a partial sum
is less than 2^(Q+1), so the sum fits in the 53-bit significand of a float64. The order of the terms therefore
does not affect the result on any device. The grids for W and s have about the resolution of float32, so an
exact matrix product is as accurate as a float32 matrix product.

Layer normalisation uses a matrix product with W = 1 to sum the pre-activations over the units. The sums of
the pre-activations and of the squared deviations from the mean are exact below 2^28.
"""

from types import ModuleType
from typing import Any

import numpy as np

from minichar.devices.backend import Array, Backend
from minichar.engine.parameters import Parameters

SHIFT = 1.5 * 2.0**28
"""Adding and then subtracting this value rounds a float64 to a multiple of 2^-24."""


def exact(parameters: Parameters) -> Parameters:
    """Return a float64 copy of the parameters for exact matrix products.

    The device must support float64. The character weights ``Wx`` are not rounded, because each
    character selects a single column and no sum is computed.
    """
    backend: Any = ExactProducts(parameters.backend.plain)
    xp = backend.xp
    rounded = Parameters(parameters.shapes, "float64", backend)
    with np.errstate(over="ignore", invalid="ignore"):  # sampling reports non-finite logits
        for name, W in rounded.items():
            W[...] = parameters[name]
            if not name.endswith(".Wx"):
                on_grid(xp, W)
    return rounded


def on_grid(xp: ModuleType, W: Array) -> None:
    """Round each row of W ``(G, K+1)`` in place to integer multiples of 2^(Q-28)."""
    tiny = np.finfo("float64").tiny  # avoids log2(0) for a row of zeros
    Q = xp.ceil(xp.log2(xp.maximum(xp.abs(W).sum(axis=1, keepdims=True), tiny)))  # (G, 1)
    grid = xp.exp2(Q - 28)  # (G, 1)
    W[...] = xp.rint(W / grid) * grid


class ExactProducts:
    """A backend whose matrix products are exact if the weights have been rounded by `exact`.

    Do not use this backend for training: multiples of 2^-24 are too coarse for gradients.

    Parameters
    ----------
    plain : Backend
        Performs all other operations.
    """

    def __init__(self, plain: Backend) -> None:
        self.plain = plain

    def __getattr__(self, name: str) -> Any:
        if name == "plain":  # a copy that has no attributes yet
            raise AttributeError(name)
        return getattr(self.plain, name)

    def matmul(self, A: Array, B: Array, out: Array | None = None) -> Array:
        """Round B in place to integer multiples of 2^-24, and return ``A @ B``."""
        B += SHIFT
        B -= SHIFT
        return self.plain.matmul(A, B, out)

    def add_matmul(self, A: Array, B: Array, out: Array) -> Array:
        """Round B in place to multiples of 2^-24, and add ``A @ B`` to `out`."""
        # Compute the whole product first: a library that adds terms to `out` one by one would round each sum.
        out += self.matmul(A, B)
        return out

    # These use the exact matrix products, rather than those of a library or of a fused kernel.
    matmul_steps, fuse_with_mean = Backend.matmul_steps, Backend.fuse_with_mean
