"""Error of central-difference and complex-step gradients as a function of step size.

The errors are measured on a small LSTM with the engine's gradient check.
"""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.config import Config
from minichar.engine.gradcheck import central_difference, complex_step, loss_of, relative_error, toy_network

from .draw import GOLD, INK, PURPLE, drawing, powers

T, B = 4, 2


@drawing(4.8, 3.4)
def v_shape(ax: Axes) -> None:
    """Measure and plot the gradient errors."""
    generator = np.random.default_rng(1)
    network = toy_network(Config(5, "lstm", 3, 1), T, B, generator)
    inputs, targets = generator.integers(5, size=(2, T, B))
    network.learn(inputs, targets)
    hand, theta = network.gradient.flat, network.parameters.flat
    steps = np.logspace(-15, 0, 46)

    def errors(method, dtype):
        loss = loss_of(network, dtype, targets)
        return [max(relative_error(hand, method(loss, theta, h)), 1e-17) for h in steps]

    central, exact = errors(central_difference, "float64"), errors(complex_step, "complex128")

    ax.loglog(steps, central, color=GOLD, label="central difference")
    ax.loglog(steps, exact, color=PURPLE, label="complex step")
    ax.loglog(steps[24:], steps[24:] ** 2 / 6, ":", color=INK, lw=1.5)
    ax.loglog(steps[:31], 1e-16 / steps[:31], ":", color=INK, lw=1.5)
    ax.text(2e-5, 1e-4, "truncation, ~ h²", ha="center", fontsize=10, color=INK)
    ax.text(2e-15, 1e-8, "round-off, ~ 1/h", fontsize=10, color=INK)
    ax.set(
        xlabel="step size h",
        ylabel="relative error of the gradient",
        ylim=(1e-17, 1e4),
        xticks=10.0 ** np.arange(-15, 1, 3),
    )
    powers(ax.xaxis)
    powers(ax.yaxis)
    ax.legend(loc="upper center", ncols=2, fontsize=10)
