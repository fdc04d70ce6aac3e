"""Probabilities of three characters at three temperatures."""

import numpy as np
from matplotlib.axes import Axes

from .draw import BLUE, drawing

LOGITS = np.array([2.0, 1.0, 0.0])  # (V,)


@drawing(4.8, 2.8)
def temperature(ax: Axes) -> None:
    """Plot the probabilities side by side."""
    places = np.arange(len(LOGITS))
    for k, temperature in enumerate((0.5, 1.0, 2.0)):
        p = np.exp(LOGITS / temperature)  # (V,)
        p /= p.sum()
        ax.bar(4 * k + places, p, 0.8, color=BLUE)
        for place, value in zip(4 * k + places, p, strict=True):
            ax.text(place, value + 0.01, f"{value:.2f}", ha="center", va="bottom", fontsize=10)
    ax.set(ylabel="probability", xticks=[1, 5, 9], xticklabels=["τ = 0.5", "τ = 1", "τ = 2"])
