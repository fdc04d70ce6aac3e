"""Choosing characters from logits: drawn from the softmax, or the likeliest.

    id = the first k with  p_0 + … + p_k > u        u uniform in [0, 1)

Inverting the cumulative distribution takes one uniform number a character, so a
stream of text depends on its own numbers alone.
"""

from types import ModuleType

from minichar.backend import Array


def draw(xp: ModuleType, logits: Array, u: Array) -> Array:
    """Return ids ``(B,)`` drawn from softmax(logits ``(V, B)``) with uniform numbers `u` ``(B,)``.

    A logit of -inf is never drawn.
    """
    weights = xp.exp(logits - logits.max(axis=0))  # (V, B)
    cumulative = xp.cumsum(weights, axis=0)  # (V, B)
    total = cumulative[-1]  # (B,)
    # Rounding may carry u·total up to total, past the last character that has a weight.
    threshold = xp.minimum(u.astype(total.dtype) * total, xp.nextafter(total, xp.zeros_like(total)))
    return (cumulative <= threshold).sum(axis=0)


def likeliest(logits: Array) -> Array:
    """Return the ids ``(B,)`` of the largest of the logits ``(V, B)``."""
    return logits.argmax(axis=0)
