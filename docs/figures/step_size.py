"""Errors of central-difference and complex-step gradients as a function of the step size."""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.config import Config
from minichar.engine.gradcheck import central_difference, complex_step, loss_of, relative_error, toy_network

from .draw import GOLD, INK, PURPLE, drawing, powers

T, B = 4, 2
W, X, TARGET = 0.4, 1.2, 0.6
FLOOR = 1e-17
"""The smallest error plotted, because a logarithmic axis cannot show 0."""


@drawing(4.8, 3.4)
def v_shape(ax: Axes) -> None:
    """Plot the errors for a small LSTM, measured with the engine's gradient check."""
    generator = np.random.default_rng(1)
    network = toy_network(Config(5, "lstm", 3, 1), T, B, generator)
    inputs, targets = generator.integers(5, size=(2, T, B))
    network.loss_and_gradient(inputs, targets)
    losses = [loss_of(network, dtype, targets) for dtype in ("float64", "complex128")]
    steps = np.logspace(-15, 0, 46)

    plot_errors(ax, losses, network.parameters.flat, network.gradient.flat, steps)
    # `loglog` would reset the labels of the axes.
    ax.plot(steps[24:], steps[24:] ** 2 / 6, ":", color=INK, lw=1.5)
    ax.plot(steps[:31], 1e-16 / steps[:31], ":", color=INK, lw=1.5)
    ax.text(2e-5, 1e-4, "truncation, ~ h²", ha="center", fontsize=10, color=INK)
    ax.text(2e-15, 1e-8, "round-off, ~ 1/h", fontsize=10, color=INK)


@drawing(4.8, 3.4)
def tiny_steps(ax: Axes) -> None:
    """Plot the errors for lesson 1's loss, with step sizes down to 1e-60."""
    y = np.tanh(W * X)
    slope = np.array([2 * (y - TARGET) * (1 - y * y) * X])

    def loss(theta: np.ndarray) -> complex:
        return (np.tanh(theta[0] * X) - TARGET) ** 2

    plot_errors(ax, [loss, loss], np.array([W]), slope, np.logspace(-60, 0, 181))
    ax.axvline(1e-30, ymax=0.82, color=INK, ls=":", lw=1.5)
    ax.text(1e-31, 1e-8, "minichar uses\nh = 1e-30", ha="right", va="center")
    ax.text(1e-58, 1e-2, "f(w + h) = f(w − h),\nso the result is 0", va="center")


def plot_errors(ax: Axes, losses, theta: np.ndarray, gradient: np.ndarray, steps: np.ndarray) -> None:
    """Plot the error of each method. The losses are those of real and of complex weights."""
    methods = (central_difference, "central difference", GOLD), (complex_step, "complex step", PURPLE)
    for (method, label, colour), loss in zip(methods, losses, strict=True):
        errors = [max(relative_error(method(loss, theta, h), gradient), FLOOR) for h in steps]
        ax.loglog(steps, errors, color=colour, label=label)
    ax.set(xlabel="step size h", ylabel="relative error of the gradient", ylim=(FLOOR, 1e4))
    ax.set_xticks(steps[:: len(steps) // 5])
    powers(ax.xaxis)
    powers(ax.yaxis)
    ax.legend(loc="upper center", ncols=2, fontsize=10)
