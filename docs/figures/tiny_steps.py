"""Central-difference and complex-step errors for lesson 1's loss, with step sizes down to 1e-60."""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.gradcheck import central_difference, complex_step, relative_error

from .draw import INK, PURPLE, drawing, powers

W, X, TARGET = 0.4, 1.2, 0.6
FLOOR = 1e-17
"""The smallest error plotted, because a logarithmic axis cannot show 0."""


@drawing(4.8, 3.4)
def tiny_steps(ax: Axes) -> None:
    """Measure the errors and plot them."""
    steps = np.logspace(-60, 0, 181)
    y = np.tanh(W * X)
    exact = np.array([2 * (y - TARGET) * (1 - y * y) * X])

    def loss(theta: np.ndarray) -> complex:
        return (np.tanh(theta[0] * X) - TARGET) ** 2

    def errors(method):
        return [max(relative_error(method(loss, np.array([W]), h), exact), FLOOR) for h in steps]

    central, by_complex_step = errors(central_difference), errors(complex_step)

    ax.loglog(steps, central, color=INK, alpha=0.5, label="central difference")
    ax.loglog(steps, by_complex_step, color=PURPLE, label="complex step")
    ax.axvline(1e-30, ymax=0.82, color=INK, ls=":", lw=1.5)
    ax.text(1e-31, 1e-8, "minichar uses\nh = 1e-30", ha="right", va="center")
    ax.text(1e-58, 1e-2, "f(w + h) = f(w − h),\nso the result is 0", va="center")
    ax.set(
        xlabel="step size h",
        ylabel="relative error of the derivative",
        ylim=(1e-18, 1e4),
        xticks=10.0 ** np.arange(-60, 1, 15),
    )
    powers(ax.xaxis)
    powers(ax.yaxis)
    ax.legend(loc="upper center", ncols=2, fontsize=10)
