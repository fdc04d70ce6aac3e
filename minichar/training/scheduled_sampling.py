"""Scheduled sampling (Bengio, Vinyals, Jaitly & Shazeer 2015, arXiv:1506.03099).

    m_t ~ Bernoulli(ratio)                   ratio is the teacher-forcing ratio
    x_t = the true character                 if m_t = 1
    x_t = the model's prediction at t-1      otherwise

A separate m_t is drawn for each character in the batch. The prediction is either a sample from the model's
distribution or its argmax. No gradient flows through the predictions. The backward pass uses the characters
that were *actually* fed to the network.

The true character is always used at the first step of a chunk, because the prediction would be from the
previous chunk. The true character is also always used at the first step after a state reset, because the
prediction would be based on the previous document.
"""

from collections.abc import Callable

from minichar.devices.backend import Array, Backend
from minichar.devices.random import Uniform
from minichar.engine.draw import draw, likeliest

SS_FEEDS = ("sample", "argmax")


class ScheduledSampling:
    """A feed (`minichar.engine.network`) that mixes true characters and predictions.

    `inputs`, the true characters ``(T, B)``, is read at each step, so its contents may change between chunks.
    `feed` is ``sample`` to sample the prediction or ``argmax`` to use the argmax.
    """

    def __init__(self, inputs: Array, feed: str, backend: Backend) -> None:
        self.xp, self.inputs, self.feed = backend.xp, inputs, feed
        # Allocate the arrays once, because a captured step uses fixed memory addresses.
        self.ids = backend.zeros(inputs.shape, inputs.dtype)  # (T, B), the characters that are fed
        self.mask = backend.zeros(inputs.shape, bool)  # (T, B)
        self.u = backend.zeros(inputs.shape, "float64")  # (T, B)

    def draw_mask(self, ratio: float, generator: Uniform, state_mask: Array | None = None) -> None:
        """Draw the Bernoulli mask for the next chunk; each element is True with probability `ratio`.

        If `state_mask` ``(T, B)`` is given, the mask is also True where `state_mask` is 0.
        """
        generator.bernoulli(ratio, self.mask)
        if state_mask is not None:
            self.mask |= state_mask == 0
        if self.feed == "sample":
            generator.fill(self.u)

    def __call__(self, t: int, look: Callable[[], Array]) -> Array:
        """Return the input ids ``(B,)`` for step `t`; `look` returns the logits of step t-1."""
        if t == 0:
            self.ids[0] = self.inputs[0]
        else:
            logits = look()  # (V, B)
            predicted = (
                draw(self.xp, logits, self.u[t]) if self.feed == "sample" else likeliest(logits)
            )  # (B,)
            self.ids[t] = self.xp.where(self.mask[t], self.inputs[t], predicted)
        return self.ids[t]
