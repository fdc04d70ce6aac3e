"""Tanh, the sigmoid and their derivatives."""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.functions import sigmoid

from .draw import BLUE, INK, ORANGE, drawing


@drawing(4.8, 4.6, rows=2)
def nonlinearities(values: Axes, slopes: Axes) -> None:
    """Plot tanh, the sigmoid and their derivatives, which are computed from the function values."""
    a = np.linspace(-6, 6, 241)
    y, s = np.tanh(a), sigmoid(np, a)
    values.plot(a, y, color=BLUE, label="tanh(a)")
    values.plot(a, s, "--", color=BLUE, label="σ(a)")
    slopes.plot(a, 1 - y * y, color=ORANGE, label="1 − y²")
    slopes.plot(a, s * (1 - s), "--", color=ORANGE, label="s (1 − s)")
    values.set(ylabel="value")
    slopes.set(xlabel="a", ylabel="derivative")
    for x in (-4.5, 4.5):
        slopes.text(x, 0.45, "saturated:\nhardly any\ngradient", ha="center", va="center", fontsize=10)
    for ax in (values, slopes):
        ax.axhline(0, color=INK, lw=0.8)
        ax.legend(fontsize=10, loc="upper left" if ax is values else "upper right")
