"""Scheduled sampling (Bengio, Vinyals, Jaitly & Shazeer 2015, arXiv:1506.03099).

    x_t = true character              with probability `share`, the share of true input
    x_t = the model's own prediction  of step t-1, otherwise

A coin for each character of the batch. The prediction is drawn from the model's
distribution, or its likeliest character. The gradient does not pass through the
choice, and the backward pass sees the characters that were *fed*. The first
character of a chunk is always true, whatever its coin: its prediction belongs to the
chunk before.
"""

import numpy as np

from minichar.backend import Array, Backend
from minichar.engine.draw import draw, likeliest
from minichar.engine.network import Feed

SS_FEEDS = ("sample", "argmax")


def scheduled_sampling(
    inputs: Array, share: float, feed: str, generator: np.random.Generator, backend: Backend
) -> Feed:
    """Return the feed of one chunk.

    Parameters
    ----------
    inputs : array of int, (T, B)
        The true characters.
    share : float
        The probability of feeding the true character.
    feed : str
        ``sample`` draws the prediction, ``argmax`` takes the likeliest.
    generator : numpy.random.Generator
    backend : Backend
    """
    xp = backend.xp
    true = generator.random(inputs.shape) < share  # (T, B)
    u = generator.random(inputs.shape) if feed == "sample" else None  # (T, B)

    def next_ids(t: int, logits: Array) -> Array:
        if t == 0:
            return inputs[0]
        predicted = likeliest(logits) if u is None else draw(xp, logits, u[t])  # (B,)
        return xp.where(true[t], inputs[t], predicted)

    return next_ids
