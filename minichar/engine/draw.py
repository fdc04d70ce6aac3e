"""Choosing characters from logits: drawn from the softmax, or the most likely one.

    id = the first k with  p_0 + … + p_k > u        u uniform in [0, 1)

Inverting the cumulative distribution takes one uniform number per character, so a stream
of text depends on its own random numbers only.
"""

from types import ModuleType

import numpy as np

from minichar.devices.backend import Array


def draw(xp: ModuleType, logits: Array, u: Array) -> Array:
    """Return ids ``(B,)`` drawn from softmax(logits ``(V, B)``) with uniform numbers `u` ``(B,)``.

    A logit of -inf is never drawn.
    """
    return draw_by_weight(xp, xp.exp(logits - logits.max(axis=0)), u)


def draw_by_weight(xp: ModuleType, weights: Array, u: Array) -> Array:
    """Return ids ``(B,)``, each drawn in proportion to its column of `weights` ``(V, B)``, all ≥ 0."""
    cumulative = xp.cumsum(weights, axis=0)  # (V, B)
    total = cumulative[-1]  # (B,)
    # A u that rounds to 1 in the dtype of the weights would select a character past the last with a weight.
    below_one = 1.0 - float(np.finfo(total.dtype).epsneg)
    threshold = xp.minimum(u.astype(total.dtype), below_one) * total  # (B,)
    return (cumulative <= threshold).sum(axis=0)


def likeliest(logits: Array) -> Array:
    """Return the ids ``(B,)`` of the largest of the logits ``(V, B)``."""
    return logits.argmax(axis=0)
