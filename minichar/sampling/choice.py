"""Sample the next character from the logits.

p = softmax(logits / temperature), after top-k and top-p filtering
next character ~ p
"""

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Annotated

import numpy as np

from minichar.checks import ABOVE_0, UP_TO_1, at_least, check
from minichar.devices.backend import Array
from minichar.engine.draw import draw_by_weight, likeliest
from minichar.errors import Option

POSITIVE = replace(ABOVE_0, advice=(" (for greedy decoding, use ", Option("argmax", True), ")"))
NOT_FINITE = "the model's logits are not finite: its weights are corrupted; use another checkpoint"


@dataclass(frozen=True)
class Choice:
    """Options for sampling the next character.

    Attributes
    ----------
    temperature : float
        The logits are divided by this value. Values below 1 make the text more conservative and
        repetitive; values above 1 make it more diverse but also more error-prone.
    top_k : int
        Sample only from the k most likely characters, including any that tie with the k-th; 0 means all.
    top_p : float
        Sample from the smallest set of most likely characters with a total probability of at least p;
        1 means all.
    argmax : bool
        Greedy decoding: always choose the most likely character, and ignore the other options.

    Raises
    ------
    MinicharError
        If a value has the wrong type or is out of range.
    """

    temperature: Annotated[float, POSITIVE] = 1.0
    top_k: Annotated[int, at_least(0)] = 0
    top_p: Annotated[float, UP_TO_1] = 1.0
    argmax: bool = False

    def __post_init__(self) -> None:
        check(self)

    def ids(
        self, logits: Array, u: Array, temperature: Array | float | None = None, xp: ModuleType = np
    ) -> Array:
        """Return ids ``(B,)`` sampled from logits ``(V, B)`` with uniform random numbers `u` ``(B,)``.

        If given, `temperature` (a scalar or one value per column) overrides the attribute. `xp` is the array
        module, such as `numpy`. For arrays on a device, this method returns without waiting for the device.
        """
        if self.argmax:
            return likeliest(logits)
        return draw_by_weight(xp, self.weights(logits, temperature, xp), u)

    def weights(self, logits: Array, temperature: Array | float | None = None, xp: ModuleType = np) -> Array:
        """Return the unnormalised probability of each character, ``(V, B)``; the largest is 1.

        For the parameters, see `ids`. `argmax` is ignored.
        """
        if temperature is None:
            temperature = self.temperature
        # Subtract the largest logit before dividing, so that the maximum is 0 even at a tiny temperature.
        with np.errstate(over="ignore"):
            scaled = (logits - logits.max(axis=0)) / temperature  # (V, B)
        # Use `where`, because assigning through a Boolean mask makes CuPy wait for the device.
        if 0 < self.top_k < len(scaled):
            kth = xp.partition(scaled, -self.top_k, axis=0)[-self.top_k]  # (B,)
            scaled = xp.where(scaled < kth, -np.inf, scaled)
        if self.top_p < 1:
            scaled = xp.where(self._within_top_p(xp, scaled), scaled, -np.inf)
        return xp.exp(scaled)

    def _within_top_p(self, xp: ModuleType, scaled: Array) -> Array:
        order = xp.argsort(-scaled, axis=0, kind="stable")  # (V, B)
        p = xp.exp(xp.take_along_axis(scaled, order, axis=0))  # (V, B), not normalised
        cumulative = xp.cumsum(p, axis=0)  # (V, B)
        before = cumulative - p  # (V, B), the total weight of all more likely characters
        kept = before < self.top_p * cumulative[-1]  # (V, B), always including the most likely character
        xp.put_along_axis(kept, order, kept.copy(), axis=0)
        return kept
