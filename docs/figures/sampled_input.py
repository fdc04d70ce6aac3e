"""Gradients in a network that is fed its own predictions (lesson 15). No gradient flows through sampling."""

from matplotlib.axes import Axes

from .draw import BLUE, GREEN, ORANGE, arrow, box, canvas, drawing, path


@drawing(4.8, 4.0)
def sampled_input(ax: Axes) -> None:
    """Draw green forward arrows, orange backward arrows, and a dashed line where no gradient flows."""
    canvas(ax, 12, 9.2)
    before, after = 2.6, 9.4
    inputs, states, outputs, losses = 0.7, 3.2, 5.7, 8.0
    for x, step in ((before, "t−1"), (after, "t")):
        box(ax, x, states, f"step {step}", GREEN, w=2.8)
        box(ax, x, outputs, f"p of step {step}", BLUE, w=3.3)
        ax.text(x, losses + 0.3, f"loss of step {step}", ha="center", va="center_baseline")
        for low, high in ((inputs, states), (states, outputs), (outputs, losses + 0.3)):
            arrow(ax, (x - 0.25, low + 0.5), (x - 0.25, high - 0.5), BLUE)
            arrow(ax, (x + 0.25, high - 0.5), (x + 0.25, low + 0.5), ORANGE)
    arrow(ax, (before + 1.5, states + 0.2), (after - 1.5, states + 0.2), GREEN)
    arrow(ax, (after - 1.5, states - 0.2), (before + 1.5, states - 0.2), ORANGE)
    ax.text(before, inputs, "x from the text", ha="center", va="center_baseline")
    ax.text(after, inputs, "x = onehot(k)", ha="center", va="center_baseline")
    # The sampled character.
    top, bottom = outputs + 0.2, inputs + 0.2
    path(ax, (before + 1.7, top), (6.9, top), (6.9, bottom), (7.6, bottom), colour=BLUE)
    ax.text(5.7, outputs + 0.65, "k ~ p", ha="center")
    top, bottom = outputs - 0.2, inputs - 0.2
    ax.plot([7.6, 6.5, 6.5, before + 1.7], [bottom, bottom, top, top], "--", color=ORANGE, lw=1.4)
    ax.text(6.5, 1.9, "×", ha="center", va="center", fontsize=18)
    ax.text(6.2, 1.9, "no gradient", ha="right", va="center_baseline")
