"""Choose characters from logits, by sampling from the softmax or by argmax.

    id = the first k with  p_0 + … + p_k > u        u uniform in [0, 1)

Inverse transform sampling needs one uniform number per character, so each sequence depends
only on its own random numbers.
"""

from types import ModuleType

import numpy as np

from minichar.devices.backend import Array


def draw(xp: ModuleType, logits: Array, u: Array) -> Array:
    """Return ids ``(B,)`` sampled from softmax(logits ``(V, B)``) with uniform numbers `u` ``(B,)``.

    A character whose logit is -inf is never drawn.
    """
    return draw_by_weight(xp, xp.exp(logits - logits.max(axis=0)), u)


def draw_by_weight(xp: ModuleType, weights: Array, u: Array) -> Array:
    """Return ids ``(B,)`` sampled in proportion to the non-negative `weights` ``(V, B)``."""
    cumulative = xp.cumsum(weights, axis=0)  # (V, B)
    total = cumulative[-1]  # (B,)
    # If u rounded to 1 in the dtype of the weights, it would select an id after the last nonzero weight.
    below_one = 1.0 - float(np.finfo(total.dtype).epsneg)
    threshold = xp.minimum(u.astype(total.dtype), below_one) * total  # (B,)
    return (cumulative <= threshold).sum(axis=0)


def likeliest(logits: Array) -> Array:
    """Return the argmax ``(B,)`` of the logits ``(V, B)``."""
    return logits.argmax(axis=0)
