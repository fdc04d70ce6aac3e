"""The two non-linearities and their derivatives, written so that they also hold for complex numbers.

    σ(a) = 1 / (1 + e⁻ᵃ) = ½ tanh(½a) + ½        σ' = σ (1 - σ)
    tanh(a)                                      tanh' = 1 - tanh²

σ through tanh cannot overflow, and both functions are analytic, which the
complex-step gradient check needs (`minichar.engine.gradcheck`). The derivatives
take the function's *value*, which the forward pass has stored already. Every
function takes the array module first and writes into `out`, of the same shape.
"""

from types import ModuleType

from minichar.devices.backend import Array


def sigmoid(xp: ModuleType, a: Array, out: Array) -> None:
    """``out = σ(a)``; `out` may be `a` itself."""
    xp.multiply(a, 0.5, out=out)
    xp.tanh(out, out=out)
    xp.multiply(out, 0.5, out=out)
    xp.add(out, 0.5, out=out)


def sigmoid_slope(xp: ModuleType, s: Array, out: Array) -> None:
    """``out = s ∘ (1 - s)``, the derivative of σ where its value is `s`; `out` is another array."""
    xp.subtract(1.0, s, out=out)
    xp.multiply(out, s, out=out)


def tanh_slope(xp: ModuleType, y: Array, out: Array) -> None:
    """``out = 1 - y∘y``, the derivative of tanh where its value is `y`; `out` is another array."""
    xp.multiply(y, y, out=out)
    xp.subtract(1.0, out, out=out)
