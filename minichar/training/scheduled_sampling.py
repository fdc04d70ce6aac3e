"""Scheduled sampling (Bengio, Vinyals, Jaitly & Shazeer 2015, arXiv:1506.03099).

    x_t = true character              with probability `share`, the share of true input
    x_t = the model's own prediction  of step t-1, otherwise

A coin for each character of the batch. The prediction is drawn from the model's
distribution, or its likeliest character. The gradient does not pass through the
choice, and the backward pass sees the characters that were *fed*. The first
character of a chunk is always true, whatever its coin: its prediction belongs to the
chunk before.
"""

from collections.abc import Callable

from minichar.devices.backend import Array, Backend
from minichar.devices.random import Uniform
from minichar.engine.draw import draw, likeliest

SS_FEEDS = ("sample", "argmax")


class ScheduledSampling:
    """A feed (`minichar.engine.network.Feed`) that mixes true characters with predictions.

    Parameters
    ----------
    inputs : array of int, (T, B)
        The true characters; they may change from chunk to chunk.
    feed : str
        ``sample`` draws the prediction, ``argmax`` takes the likeliest.
    backend : Backend
    """

    def __init__(self, inputs: Array, feed: str, backend: Backend) -> None:
        self.xp, self.inputs, self.feed = backend.xp, inputs, feed
        self.true = backend.zeros(inputs.shape, bool)  # (T, B)
        self.u = backend.zeros(inputs.shape, "float64")  # (T, B)

    def flip(self, share: float, generator: Uniform) -> None:
        """Flip the coins of the next chunk: true with probability `share`."""
        self.true[...] = generator.random(self.inputs.shape) < share
        if self.feed == "sample":
            self.u[...] = generator.random(self.inputs.shape)

    def __call__(self, t: int, look: Callable[[], Array]) -> Array:
        """Return the ids ``(B,)`` to feed at step `t`, where `look` gives the logits of the step before."""
        if t == 0:
            return self.inputs[0]
        logits = look()  # (V, B)
        predicted = draw(self.xp, logits, self.u[t]) if self.feed == "sample" else likeliest(logits)  # (B,)
        return self.xp.where(self.true[t], self.inputs[t], predicted)
