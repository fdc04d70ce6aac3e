"""Sample the next character from the logits.

    p = softmax(logits / temperature), filtered by top_k, then top_p, then min_p
    next character ~ p

The filters are applied in the same order as in Hugging Face Transformers. llama.cpp applies the temperature
last, so its filters see the probabilities at temperature 1.
"""

from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType
from typing import Annotated

import numpy as np

from minichar.checks import ABOVE_0, UP_TO_1, at_least, between, check, option
from minichar.devices.backend import Array
from minichar.engine.draw import draw_by_weight, likeliest
from minichar.errors import Option

POSITIVE = replace(ABOVE_0, advice=(" (for greedy decoding, use ", Option("argmax", True), ")"))
sampling = partial(option, "Sampling", common=True)
NOT_FINITE = "the model's logits are not finite: its weights are corrupted; use another checkpoint"


@dataclass(frozen=True)
class Choice:
    """Options for sampling the next character. `Generation` describes them.

    Raises
    ------
    MinicharError
        If a value has the wrong type or is out of range.
    """

    temperature: Annotated[float, POSITIVE] = sampling(
        1.0, "Sampling temperature. Lower values make the text more predictable; higher values more varied."
    )
    top_k: Annotated[int, at_least(0)] = sampling(
        0, "Sample only from the K most likely characters, including any that tie with the K-th. 0: all.", "K"
    )
    top_p: Annotated[float, UP_TO_1] = sampling(
        1.0, "Sample from the smallest set of characters whose total probability is at least P. 1: all.", "P"
    )
    min_p: Annotated[float, between(0, 1)] = sampling(
        0.0, "Sample only from characters at least P times as likely as the most likely one. 0: all.", "P"
    )
    argmax: bool = sampling(False, "Always choose the most likely character, whatever the other options.")

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
        weights = xp.exp(scaled)
        return weights * (weights >= self.min_p) if self.min_p else weights

    def _within_top_p(self, xp: ModuleType, scaled: Array) -> Array:
        order = xp.argsort(-scaled, axis=0, kind="stable")  # (V, B)
        p = xp.exp(xp.take_along_axis(scaled, order, axis=0))  # (V, B), not normalised
        cumulative = xp.cumsum(p, axis=0)  # (V, B)
        before = cumulative - p  # (V, B), the total weight of all more likely characters
        kept = before < self.top_p * cumulative[-1]  # (V, B), always including the most likely character
        xp.put_along_axis(kept, order, kept.copy(), axis=0)
        return kept
