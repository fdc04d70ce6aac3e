"""Diagram of the network from lesson 1, with forward values and derivatives."""

from math import tanh

from matplotlib.axes import Axes

from .draw import BLUE, ORANGE, arrow, box, canvas, drawing, signed

W, X, TARGET = 0.4, 1.2, 0.6


@drawing(4.4, 4.3)
def one_weight(ax: Axes) -> None:
    """Draw the forward values on the left, going down, and the derivatives on the right, going up."""
    a = W * X
    y = tanh(a)
    loss = (y - TARGET) ** 2
    dy = 2 * (y - TARGET)
    da = dy * (1 - y * y)
    dw = da * X

    canvas(ax, 10, 9.8)
    rows = (8.3, 6.0, 3.7, 1.4)
    values = (f"w = {W}", f"a = {a:.4f}", f"y = {y:.4f}", f"loss = {loss:.4f}")
    gradients = (f"dw = {signed(dw)}", f"da = {signed(da)}", f"dy = {signed(dy)}", "")
    for row, value, gradient in zip(rows, values, gradients, strict=True):
        box(ax, 2.3, row, value, BLUE, w=3.8, h=0.9)
        if gradient:
            box(ax, 7.7, row, gradient, ORANGE, w=3.8, h=0.9)
    for row, forward in zip(rows, ("w x", "tanh(a)", "(y − target)²"), strict=False):
        arrow(ax, (2.3, row - 0.55), (2.3, row - 1.75), BLUE)
        ax.text(2.5, row - 1.15, forward, va="center_baseline")
    for row, factor in zip(rows, (f"· x = {X}", f"· (1 − y²) = {1 - y * y:.4f}"), strict=False):
        arrow(ax, (7.7, row - 1.75), (7.7, row - 0.55), ORANGE)
        ax.text(7.5, row - 1.15, factor, ha="right", va="center_baseline")
    ax.plot([4.3, 7.7], [rows[3]] * 2, color=ORANGE, lw=1.4)
    arrow(ax, (7.7, rows[3]), (7.7, rows[2] - 0.55), ORANGE)
    ax.text(7.5, rows[3] + 1.15, "2 (y − target)", ha="right", va="center_baseline")
    ax.text(2.3, 9.4, "forward ↓", ha="center", va="center_baseline")
    ax.text(7.7, 9.4, "backward ↑", ha="center", va="center_baseline")
