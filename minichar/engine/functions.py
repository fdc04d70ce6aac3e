"""The logistic sigmoid.

    σ(a) = 1 / (1 + e⁻ᵃ)

If e⁻ᵃ overflows to infinity, the result is 0, which is the correct limit. The formula does not branch on the
sign of a, so it is also valid for complex numbers, as the complex-step gradient check
(`minichar.engine.gradcheck`) requires. Backward passes express each derivative in terms of the function's
*value*, which the forward pass has already computed:

    s = σ(a)       ds/da = s (1 - s)
    y = tanh(a)    dy/da = 1 - y²
"""

from types import ModuleType

from minichar.devices.backend import Array


def sigmoid(xp: ModuleType, a: Array) -> Array:
    """Return σ(a), where `a` is an array or a tuple of arrays, one per gate."""
    if isinstance(a, tuple):
        return tuple(sigmoid(xp, gate) for gate in a)
    return 1.0 / (1.0 + xp.exp(-a))
