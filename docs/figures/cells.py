"""Diagrams of one time step of the RNN and GRU cells: values are blue, and states are green."""

from matplotlib.axes import Axes

from .draw import BLUE, GREEN, INK, box, canvas, dot, drawing, path


@drawing(5, 2.2)
def rnn(ax: Axes) -> None:
    """Draw an RNN cell: ``h = tanh(W @ [h_prev; x; 1])``."""
    canvas(ax, 10, 4.2)
    ax.text(0.1, 3, "h_prev", va="center_baseline")
    path(ax, (1.5, 3), (2.6, 3), colour=GREEN)
    ax.text(3.5, 0.3, "x", ha="center", va="center_baseline")
    path(ax, (3.5, 0.7), (3.5, 2.55), colour=BLUE)
    box(ax, 3.5, 3, "W", INK, w=1.8)
    path(ax, (4.4, 3), (5.6, 3), colour=BLUE)
    ax.text(5.0, 3.35, "a", ha="center")
    box(ax, 6.5, 3, "tanh", INK, w=1.8)
    path(ax, (7.4, 3), (9.2, 3), colour=GREEN)
    ax.text(9.4, 3, "h", va="center_baseline")
    path(ax, (8.2, 3), (8.2, 1.4), colour=BLUE)
    ax.text(8.2, 0.9, "to the layer above", ha="center", va="center_baseline")


@drawing(5.4, 4.0)
def gru(ax: Axes) -> None:
    """Draw a GRU cell: ``n = tanh(a_n + r ∘ u_n)``, ``h = (1 - z) ∘ n + z ∘ h_prev``."""
    canvas(ax, 11, 8)
    # The new hidden state.
    ax.text(0, 7.1, "h_prev", va="center_baseline")
    path(ax, (1.5, 7.1), (8.05, 7.1), colour=GREEN)
    dot(ax, 8.4, 7.1, "∘")
    path(ax, (8.75, 7.1), (9.25, 7.1), colour=GREEN)
    dot(ax, 9.6, 7.1, "+")
    path(ax, (9.95, 7.1), (10.4, 7.1), colour=GREEN)
    ax.text(10.55, 7.1, "h", va="center_baseline")
    # The matrix products.
    box(ax, 3.1, 2.6, "U @ [h_prev; 1]", INK, w=3.4)
    path(ax, (2, 7.1), (2, 3.0), colour=GREEN)
    box(ax, 6.8, 1.1, "W @ [x; 1]", INK, w=5.2)
    path(ax, (10.4, 1.1), (9.4, 1.1), colour=BLUE)
    ax.text(10.6, 1.1, "x", va="center_baseline")
    # The gates.
    for x, gate in ((5.0, "r"), (8.4, "z")):
        box(ax, x, 3.9, "σ", INK, w=1.1)
        ax.text(x + 0.15, 4.4, gate)
        path(ax, (x, 1.5), (x, 3.5), colour=BLUE)
    for left, right in ((4.8, 6.0), (6.4, 8.4)):  # interrupted where it crosses a_n
        ax.plot([left, right], [2.6, 2.6], color=BLUE, lw=1.4)
    path(ax, (8.4, 4.3), (8.4, 6.75), colour=BLUE)
    # The candidate.
    dot(ax, 3.9, 5.2, "∘")
    path(ax, (3.9, 3.0), (3.9, 4.85), colour=BLUE)
    path(ax, (5.0, 4.3), (5.0, 5.2), (4.25, 5.2), colour=BLUE)
    ax.text(3.7, 3.9, "u_n", ha="right", va="center_baseline")
    path(ax, (3.9, 5.55), (3.9, 6.1), (5.85, 6.1), colour=BLUE)
    dot(ax, 6.2, 6.1, "+")
    path(ax, (6.2, 1.5), (6.2, 5.75), colour=BLUE)
    ax.text(6.35, 4.9, "a_n", va="center_baseline")
    path(ax, (6.55, 6.1), (6.85, 6.1), colour=BLUE)
    box(ax, 7.4, 6.1, "tanh", INK, w=1.1)
    ax.plot([7.95, 8.2], [6.1, 6.1], color=BLUE, lw=1.4)
    path(ax, (8.6, 6.1), (9.25, 6.1), colour=BLUE)  # interrupted where it crosses z
    dot(ax, 9.6, 6.1, "∘")
    ax.text(8.7, 6.25, "n")
    path(ax, (8.4, 5.0), (9.6, 5.0), (9.6, 5.75), colour=BLUE)
    ax.text(9.75, 5.2, "1 − z", va="center_baseline")
    path(ax, (9.6, 6.45), (9.6, 6.75), colour=BLUE)
