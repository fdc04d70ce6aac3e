"""Paths of gradient descent and RMSprop on the ravine-shaped loss from lesson 16."""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.parameters import Parameters
from minichar.training.optimiser import RMSprop

from .draw import GOLD, INK, PURPLE, arrow, drawing

SLOPES = np.array([100.0, 1.0])
START = np.array([1.0, 1.0])
STEPS = 25
RATE, RMSPROP_RATE = 0.019, 0.03


@drawing(4.8, 4.0)
def ravine(ax: Axes) -> None:
    """Run gradient descent and RMSprop, and plot their paths."""
    descent, scaled = [START], [START]
    parameters = Parameters({"theta": (2,)}, "float64")
    rmsprop, theta = RMSprop(parameters, 0.95), parameters.flat
    theta[...] = START
    for _ in range(STEPS):
        descent.append(descent[-1] - RATE * SLOPES * descent[-1])
        rmsprop.step(SLOPES * theta, RMSPROP_RATE)
        scaled.append(theta.copy())

    across, up = np.meshgrid(np.linspace(-0.2, 1.2, 141), np.linspace(-1.1, 1.25, 141))
    losses = (SLOPES[0] * up**2 + SLOPES[1] * across**2) / 2
    ax.contour(across, up, losses, levels=[0.1, 0.5, 2, 8, 24, 50], colors=INK, alpha=0.35, linewidths=1)
    for path, colour, name in ((descent, GOLD, "gradient descent"), (scaled, PURPLE, "RMSprop")):
        steep, flat = np.transpose(path)
        ax.plot(flat, steep, "o-", color=colour, markersize=3.5, lw=1.4, label=name)
    for point in scaled[1:10:2]:
        steep, flat = point - 0.005 * SLOPES * point
        arrow(ax, (point[1], point[0]), (flat, steep))
    ax.text(0.73, 0.5, "−g")
    ax.set(xlabel="θ₂, flat", ylabel="θ₁, steep")
    ax.legend(fontsize=10, loc="lower left")
