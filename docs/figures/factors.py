"""Products of up to 100 equal factors."""

import numpy as np
from matplotlib.axes import Axes

from .draw import INK, ORANGE, drawing, powers


@drawing(4.8, 3.0)
def factors(ax: Axes) -> None:
    """Plot the products on a logarithmic axis."""
    steps = np.arange(101)
    for factor in (1.1, 1.01, 0.99, 0.9):
        ax.semilogy(steps, factor**steps, color=ORANGE)
        ax.text(101, factor**100.0, f"{factor}ᵏ", va="center")
    ax.axhline(1, color=INK, lw=0.8)
    ax.set(xlabel="steps k", ylabel="gradient", xlim=(0, 100))
    powers(ax.yaxis)
