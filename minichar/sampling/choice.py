"""How the next character is chosen from its logits.

p = softmax(logits / temperature), cut to the top k and the top p
next character ~ p
"""

from dataclasses import dataclass

import numpy as np

from minichar.engine.draw import draw_by_weight, likeliest
from minichar.errors import MinicharError


@dataclass(frozen=True)
class Choice:
    """How the next character is chosen.

    Attributes
    ----------
    temperature : float
        Logits are divided by it: below 1 safer and more repetitive, above 1 bolder and more mistaken.
    top_k : int
        Draw among the k likeliest characters only; 0 for all.
    top_p : float
        Draw among the fewest characters that hold this share of the probability; 1 for all.
    argmax : bool
        Take the likeliest always; the other options then mean nothing.

    Raises
    ------
    MinicharError
        If a value is out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    argmax: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise MinicharError(
                f"temperature is {self.temperature}; it must be above 0 (--argmax is its limit at 0)"
            )
        if self.top_k < 0:
            raise MinicharError(f"top-k is {self.top_k}; it must be 0 (all characters) or more")
        if not 0 < self.top_p <= 1:
            raise MinicharError(f"top-p is {self.top_p}; it must be above 0 and at most 1 (all characters)")

    def ids(
        self, logits: np.ndarray, u: np.ndarray, temperature: np.ndarray | float | None = None
    ) -> np.ndarray:
        """Return the ids ``(B,)`` chosen from logits ``(V, B)`` with uniform numbers `u` ``(B,)``.

        A `temperature` for each column ``(B,)`` takes the place of the choice's own.
        """
        if self.argmax:
            return likeliest(logits)
        if temperature is None:
            temperature = self.temperature
        # The largest is taken off first: however small the temperature, 0 / temperature is 0.
        with np.errstate(over="ignore"):
            scaled = (logits - logits.max(axis=0)) / temperature  # (V, B)
        if 0 < self.top_k < len(scaled):
            kth = np.partition(scaled, -self.top_k, axis=0)[-self.top_k]  # (B,)
            scaled[scaled < kth] = -np.inf
        if self.top_p < 1:
            self._cut_to_top_p(scaled)
        return draw_by_weight(np, np.exp(scaled), u)  # the largest of `scaled` is 0

    def _cut_to_top_p(self, scaled: np.ndarray) -> None:
        order = np.argsort(-scaled, axis=0, kind="stable")  # (V, B)
        p = np.exp(np.take_along_axis(scaled, order, axis=0))  # (V, B)
        cumulative = np.cumsum(p, axis=0)  # (V, B)
        likelier = cumulative - p  # (V, B): the weight of all that come before
        kept = likelier < self.top_p * cumulative[-1]  # (V, B); the likeliest always is
        np.put_along_axis(kept, order, kept.copy(), axis=0)
        scaled[~kept] = -np.inf
