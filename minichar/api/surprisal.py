"""The surprisal of each character of a text, which a notebook displays as coloured text."""

from html import escape
from math import isnan
from typing import Any, Self
from unicodedata import category

import numpy as np

LONGEST = 10_000
"""Maximum number of characters displayed."""
LARGEST = 6.0
"""Surprisal in nats displayed in the strongest colour."""
SIGNS = {"\n": "↵\n", "\t": "⇥\t"}
"""Visible symbols for control characters, which would otherwise have no background."""


class Surprisal(np.ndarray):
    """Array of surprisal values that a notebook displays as the text, coloured by surprisal.

    Slices of the array and results of computations are displayed as arrays.

    Parameters
    ----------
    nats : array of float64, (N,)
        Surprisal in nats; NaN for characters that are not predicted.
    text : str
        The N characters.
    """

    text: str | None = None

    def __new__(cls, nats: np.ndarray, text: str) -> Self:
        """Return a view of `nats`."""
        array = nats.view(cls)
        array.text = text
        return array

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = True) -> Any:
        """Return the result of a computation as a plain array or scalar."""
        return array[()]

    def _repr_html_(self) -> str | None:
        """Return the text as HTML, or None to display the numbers."""
        if self.text is None:
            return None
        nats = self[:LONGEST].tolist()
        spans = "".join(map(_span, self.text, nats))
        rest = f"… ({len(self) - len(nats):,} more characters)" if len(self) > len(nats) else ""
        style = "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left"
        return f'<div style="{style}">{spans}{rest}</div>'


def _span(character: str, nats: float) -> str:
    """Return one character as HTML, coloured by its surprisal."""
    hidden = category(character).startswith("C")
    shown = SIGNS.get(character, f"U+{ord(character):04X}") if hidden else escape(character)
    title = "not predicted" if isnan(nats) else f"{nats:.2f} nats"
    opacity = 0.0 if isnan(nats) else 0.7 * min(nats / LARGEST, 1.0)
    style = f"unicode-bidi:isolate;background:rgb(190 30 120 / {opacity:.2f})"
    return f'<span style="{style}" title="{title}">{shown}</span>'
