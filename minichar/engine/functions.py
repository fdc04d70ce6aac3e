"""The logistic sigmoid, written so that it also holds for complex numbers.

    σ(a) = 1 / (1 + e⁻ᵃ) = ½ tanh(½a) + ½

Through tanh it cannot overflow, and it is analytic, which the complex-step gradient check
needs (`minichar.engine.gradcheck`). Backward passes use the two derivatives as functions of
the *value*, which the forward pass has already:

    s = σ(a)       ds/da = s (1 - s)
    y = tanh(a)    dy/da = 1 - y²
"""

from types import ModuleType

from minichar.devices.backend import Array


def sigmoid(xp: ModuleType, a: Array) -> Array:
    """Return σ(a); of several gates at a time, a block ``(G, H, B)`` or a tuple, each gate's."""
    if isinstance(a, tuple):
        return tuple(sigmoid(xp, gate) for gate in a)
    s = 0.5 * a
    xp.tanh(s, out=s)
    s *= 0.5
    s += 0.5
    return s
