"""Networks unrolled over time: one unit, and two layers with array shapes."""

from itertools import pairwise

from matplotlib.axes import Axes

from .draw import BLUE, GREEN, arrow, box, canvas, drawing

TEXT = "cats."


@drawing(4.9, 5.3)
def unrolled(ax: Axes) -> None:
    """Draw one column of boxes per time step."""
    canvas(ax, 10.6, 11.5)
    ids, layer1, layer2, readout, loss, targets = 1.0, 3.2, 5.4, 7.3, 9.0, 10.7
    for t, number in enumerate("₁₂₃₄"):
        x = 3 + 2.1 * t
        ax.text(x, ids, f"‘{TEXT[t]}’", ha="center", va="center_baseline")
        box(ax, x, layer1, f"h⁽¹⁾{number}", GREEN, w=1.2)
        box(ax, x, layer2, f"h⁽²⁾{number}", GREEN, w=1.2)
        box(ax, x, readout, f"p{number}", BLUE, w=1.2)
        box(ax, x, loss, f"L{number}", BLUE, w=1.2)
        ax.text(x, targets, f"‘{TEXT[t + 1]}’", ha="center", va="center_baseline")
        for low, high in pairwise((ids, layer1, layer2, readout, loss)):
            arrow(ax, (x, low + 0.45), (x, high - 0.45), BLUE)
        arrow(ax, (x, targets - 0.45), (x, loss + 0.45), BLUE)
        for y in (layer1, layer2):
            arrow(ax, (x - 1.5 if t else 0.1, y), (x - 0.6, y), GREEN)
    for y, words in (
        (ids, "ids (T, B)"),
        (layer1 + 0.75, "layer 1\n(H, B)"),
        (layer2 + 0.75, "layer 2\n(H, B)"),
        (readout, "softmax\n(T, V, B)"),
        (loss, "losses\n(T, B)"),
        (targets, "targets\n(T, B)"),
    ):
        ax.text(0.1, y, words, va="center", fontsize=10)
    ax.text(10.4, 0.2, "T = 4 steps →", ha="right", fontsize=10)


@drawing(4.4, 2.6)
def unrolled_unit(ax: Axes) -> None:
    """Draw the states of one unit, with the input and the loss of each step."""
    canvas(ax, 10, 5.6)
    states, places = 2.8, (1.0, 3.1, 5.2, 9.0)
    for x, step in zip(places, ("₀", "₁", "₂", "_T"), strict=True):
        box(ax, x, states, f"h{step}", GREEN, w=1.2)
        if x > places[0]:
            ax.text(x, 5.2, f"x{step}", ha="center", va="center_baseline")
            arrow(ax, (x, 4.8), (x, states + 0.45), BLUE)
            arrow(ax, (x, states - 0.45), (x, 0.8), BLUE)
            ax.text(x, 0.3, f"L{step}", ha="center", va="center_baseline")
    for left, right in ((1.65, 2.45), (3.75, 4.55), (5.85, 6.65), (7.55, 8.35)):
        arrow(ax, (left, states), (right, states), GREEN)
    ax.text(7.1, states, "…", ha="center", va="center_baseline")
