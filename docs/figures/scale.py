"""Standard deviation of the outputs of 20 layers with weights of three scales."""

import numpy as np
from matplotlib.axes import Axes

from .draw import GOLD, INK, PINK, PURPLE, drawing

LAYERS, K, B = 20, 128, 64


@drawing(4.8, 3.2)
def scale(ax: Axes) -> None:
    """Plot the standard deviation against the layer."""
    generator = np.random.default_rng(1)
    start = generator.uniform(-1, 1, (K, B))  # (K, B)

    scales = ("½ √(3/K)", 0.5, GOLD), ("√(3/K)", 1.0, PURPLE), ("2 √(3/K)", 2.0, PINK)
    for name, factor, colour in scales:
        b, s = factor * np.sqrt(3 / K), start
        spread = [s.std()]
        for _ in range(LAYERS):
            s = np.tanh(generator.uniform(-b, b, (K, K)) @ s)  # (K, B)
            spread.append(s.std())
        ax.plot(spread, color=colour, label=f"b = {name}")
    ax.axhline(0, color=INK, lw=0.8)
    ax.set(
        xlabel="layer",
        ylabel="standard deviation of tanh(a)",
        xlim=(0, LAYERS),
        xticks=range(0, LAYERS + 1, 5),
        ylim=(-0.02, 1),
    )
    ax.legend(fontsize=10)
