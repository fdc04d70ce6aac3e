"""Truncated BPTT: states cross chunk boundaries, but gradients do not."""

from itertools import pairwise

from matplotlib.axes import Axes

from .draw import GREEN, INK, ORANGE, arrow, box, canvas, drawing


@drawing(4.8, 2.7)
def truncation(ax: Axes) -> None:
    """Draw the states, the losses and the arrows between them."""
    canvas(ax, 11.2, 6.2)
    xs = [1.2, 2.8, 4.4, 6.8, 8.4, 10.0]
    for i, x in enumerate(xs):
        box(ax, x, 3, f"h{'₁₂₃₄₅₆'[i]}", GREEN, w=0.95)
        arrow(ax, (x + 0.12, 3.42), (x + 0.12, 4.4))
        arrow(ax, (x - 0.12, 4.4), (x - 0.12, 3.42), ORANGE)
        ax.text(x, 4.75, f"loss{'₁₂₃₄₅₆'[i]}", ha="center", va="center_baseline", fontsize=10)
    for i, (left, right) in enumerate(pairwise(xs)):
        arrow(ax, (left + 0.5, 3.15), (right - 0.5, 3.15), GREEN)
        if i != 2:
            arrow(ax, (right - 0.5, 2.82), (left + 0.5, 2.82), ORANGE)
    arrow(ax, (6.3, 2.82), (5.75, 2.82), ORANGE)
    ax.plot([5.6, 5.6], [2.2, 5.4], "--", color=INK, lw=1.2)
    ax.text(5.42, 2.78, "×", ha="center", va="center", fontsize=14, color=INK)
    ax.text(2.8, 5.7, "chunk k", ha="center")
    ax.text(8.4, 5.7, "chunk k + 1", ha="center")
    ax.text(1.2, 1.5, "→ states cross chunk boundaries", fontsize=10, color=INK)
    ax.text(1.2, 0.8, "← gradients do not", fontsize=10, color=INK)
    ax.plot([0.5, 1.0], [1.6, 1.6], color=GREEN)
    ax.plot([0.5, 1.0], [0.9, 0.9], color=ORANGE)
