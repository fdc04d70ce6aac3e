"""Choose characters from logits, by sampling from the softmax or by argmax.

    id = the first k with  p_0 + … + p_k > u        u uniform in [0, 1)

Inverse transform sampling uses one uniform random number per character, so each sequence depends
only on its own random numbers.
"""

from types import ModuleType

import numpy as np

from minichar.devices.backend import Array

BELOW_ONE = {np.dtype(dtype): 1.0 - float(np.finfo(dtype).epsneg) for dtype in ("float32", "float64")}
"""The largest number below 1 for each dtype."""


def draw(xp: ModuleType, logits: Array, u: Array) -> Array:
    """Sample ids ``(B,)`` from the softmax of the logits ``(V, B)``, given random numbers `u` ``(B,)``.

    If a logit is -inf, its character has probability 0. On a GPU, the probability is 0 only up to rounding,
    because a parallel cumulative sum can round neighbouring elements differently.
    """
    return draw_by_weight(xp, xp.exp(logits - logits.max(axis=0)), u)


def draw_by_weight(xp: ModuleType, weights: Array, u: Array) -> Array:
    """Sample ids ``(B,)`` in proportion to non-negative `weights` ``(V, B)``, given uniform `u` ``(B,)``."""
    cumulative = weights.cumsum(axis=0)  # (V, B)
    total = cumulative[-1]  # (B,)
    if u.dtype != total.dtype:
        # Keep u below 1: if it were rounded to 1, the id would be past the last nonzero weight.
        u = xp.minimum(u.astype(total.dtype), BELOW_ONE[total.dtype])  # (B,)
    return (cumulative <= u * total).sum(axis=0)


def likeliest(logits: Array) -> Array:
    """Return the argmax ``(B,)`` of the logits ``(V, B)``."""
    return logits.argmax(axis=0)
