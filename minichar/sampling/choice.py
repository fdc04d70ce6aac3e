"""Sample the next character from the logits.

p = softmax(logits / temperature), after top-k and top-p filtering
next character ~ p
"""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from minichar.checks import ABOVE_0, UP_TO_1, at_least, check
from minichar.engine.draw import draw_by_weight, likeliest
from minichar.errors import Option

POSITIVE = replace(ABOVE_0, advice=(" (for greedy decoding, use ", Option("argmax", True), ")"))


@dataclass(frozen=True)
class Choice:
    """Options for sampling the next character.

    Attributes
    ----------
    temperature : float
        Divides the logits. Values below 1 make the text more conservative and repetitive. Values
        above 1 make it more diverse but also more error-prone.
    top_k : int
        Sample only from the k most likely characters; 0 for all.
    top_p : float
        Sample from the smallest set of most likely characters with a total probability of at least p;
        1 for all.
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
        self, logits: np.ndarray, u: np.ndarray, temperature: np.ndarray | float | None = None
    ) -> np.ndarray:
        """Return ids ``(B,)`` sampled from logits ``(V, B)`` with uniform random numbers `u` ``(B,)``.

        If given, `temperature` (a scalar or one value per column) overrides the attribute.
        """
        if self.argmax:
            return likeliest(logits)
        if temperature is None:
            temperature = self.temperature
        # Subtract the largest logit first, so that it is 0 even at a tiny temperature.
        with np.errstate(over="ignore"):
            scaled = (logits - logits.max(axis=0)) / temperature  # (V, B)
        if 0 < self.top_k < len(scaled):
            kth = np.partition(scaled, -self.top_k, axis=0)[-self.top_k]  # (B,)
            scaled[scaled < kth] = -np.inf
        if self.top_p < 1:
            self._mask_beyond_top_p(scaled)
        return draw_by_weight(np, np.exp(scaled), u)  # the largest of `scaled` is 0

    def _mask_beyond_top_p(self, scaled: np.ndarray) -> None:
        order = np.argsort(-scaled, axis=0, kind="stable")  # (V, B)
        p = np.exp(np.take_along_axis(scaled, order, axis=0))  # (V, B), not normalised
        cumulative = np.cumsum(p, axis=0)  # (V, B)
        before = cumulative - p  # (V, B), the total weight of all more likely characters
        kept = before < self.top_p * cumulative[-1]  # (V, B), always including the most likely character
        np.put_along_axis(kept, order, kept.copy(), axis=0)
        scaled[~kept] = -np.inf
