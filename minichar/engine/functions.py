"""The logistic sigmoid.

    σ(a) = 1 / (1 + e⁻ᵃ) = ½ tanh(½a) + ½

If e⁻ᵃ overflows to infinity, the result is 0, which is the correct limit. Neither formula branches on the
sign of a, so both are also valid for complex numbers, as the complex-step gradient check
(`minichar.engine.gradcheck`) requires. Backward passes express each derivative in terms of the function's
*value*, which the forward pass has already computed:

    s = σ(a)       ds/da = s (1 - s)
    y = tanh(a)    dy/da = 1 - y²
"""

from types import ModuleType

import numpy as np

from minichar.devices.backend import Array

TANH_IS_FASTER = not {"X86_V4", "AVX512_SKX"}.isdisjoint(
    np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
)
"""Whether NumPy uses AVX-512. With it, tanh takes half as long as exp; without it, about twice as long."""


def sigmoid(xp: ModuleType, a: Array) -> Array:
    """Return σ(a), where `a` is an array or a tuple of arrays, one per gate."""
    if isinstance(a, tuple):
        return tuple(sigmoid(xp, gate) for gate in a)
    if TANH_IS_FASTER and xp is np and getattr(a, "dtype", None) == np.float32:
        return 0.5 * xp.tanh(0.5 * a) + 0.5
    return 1.0 / (1.0 + xp.exp(-a))
