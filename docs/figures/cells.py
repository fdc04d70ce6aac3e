"""Diagrams of one time step of the RNN and GRU cells, and of the backward pass through it.

Values are blue, states are green, and gradients are orange.
"""

from matplotlib.axes import Axes

from .draw import BLUE, GREEN, INK, ORANGE, box, canvas, dot, drawing, path


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


@drawing(5, 2.2)
def rnn_backward(ax: Axes) -> None:
    """Draw the gradients ``da = dh ∘ (1 - h ∘ h)``, ``dh_prev = W_hᵀ @ da`` and ``dx = W_xᵀ @ da``."""
    canvas(ax, 10, 4.2)
    ax.text(0.1, 3, "dh_prev", va="center_baseline")
    path(ax, (2.6, 3), (1.7, 3), colour=ORANGE)
    ax.text(3.5, 0.3, "dx", ha="center", va="center_baseline")
    path(ax, (3.5, 2.6), (3.5, 0.7), colour=ORANGE)
    box(ax, 3.5, 3, "Wᵀ", INK, w=1.8)
    path(ax, (5.4, 3), (4.4, 3), colour=ORANGE)
    ax.text(4.9, 3.35, "da", ha="center")
    box(ax, 6.5, 3, "∘ (1 − h ∘ h)", INK, w=2.2)
    path(ax, (8.05, 3), (7.6, 3), colour=ORANGE)
    ax.text(7.85, 3.35, "dh", ha="center")
    dot(ax, 8.4, 3, "+")
    path(ax, (9.7, 3), (8.75, 3), colour=ORANGE)
    ax.text(10, 3.35, "next step", ha="right")
    path(ax, (8.4, 1.3), (8.4, 2.65), colour=ORANGE)
    ax.text(8.4, 0.8, "layer above", ha="center", va="center_baseline")


@drawing(5.4, 4.6)
def gru_backward(ax: Axes) -> None:
    """Draw the gradients of ``n = tanh(a_n + r ∘ u_n)`` and ``h = (1 - z) ∘ n + z ∘ h_prev``."""
    canvas(ax, 11, 9.2)
    # The hidden state.
    ax.text(0, 8.2, "dh_prev", va="center_baseline")
    dot(ax, 2.6, 8.2, "+")
    path(ax, (2.25, 8.2), (1.6, 8.2), colour=ORANGE)
    path(ax, (8.05, 8.2), (2.95, 8.2), colour=ORANGE)
    ax.text(5.2, 8.5, "dh ∘ z", ha="center")
    dot(ax, 8.4, 8.2, "∘")
    path(ax, (10.4, 8.2), (8.75, 8.2), colour=ORANGE)
    ax.text(10.5, 8.2, "dh", va="center_baseline")
    # The matrix products.
    box(ax, 3.1, 2.6, "Uᵀ @ du", INK, w=3.4)
    path(ax, (2.6, 3.0), (2.6, 7.85), colour=ORANGE)
    box(ax, 6.8, 1.1, "Wᵀ @ da", INK, w=5.2)
    path(ax, (9.4, 1.1), (10.4, 1.1), colour=ORANGE)
    ax.text(10.5, 1.1, "dx", va="center_baseline")
    # The gates.
    for x, gate in ((5.0, "r"), (8.4, "z")):
        box(ax, x, 3.9, "σ′", INK, w=1.1)
        path(ax, (x, 3.5), (x, 1.5), colour=ORANGE)
        ax.text(x + 0.15, 1.85, f"da_{gate}", va="center_baseline")
    ax.plot([8.4, 6.4], [2.6, 2.6], color=ORANGE, lw=1.4)
    path(ax, (6.0, 2.6), (4.8, 2.6), colour=ORANGE)  # interrupted where it crosses da_n
    ax.text(7.3, 2.85, "du_r, du_z", ha="center")
    ax.plot([8.4, 8.4], [7.85, 7.1], color=ORANGE, lw=1.4)
    path(ax, (8.4, 6.7), (8.4, 4.3), colour=ORANGE)  # interrupted where it crosses dn
    ax.text(8.55, 5.0, "dz =\ndh ∘ (h_prev − n)", va="center")
    # The candidate.
    path(ax, (9.6, 8.2), (9.6, 6.9), (8.15, 6.9), colour=ORANGE)
    ax.text(9.75, 7.5, "∘ (1 − z)", va="center_baseline")
    box(ax, 7.4, 6.9, "tanh′", INK, w=1.3)
    ax.plot([6.2, 6.75], [6.9, 6.9], color=ORANGE, lw=1.4)
    path(ax, (6.2, 6.9), (6.2, 1.5), colour=ORANGE)
    ax.text(6.35, 5.6, "da_n", va="center_baseline")
    path(ax, (6.2, 5.2), (4.25, 5.2), colour=ORANGE)
    dot(ax, 3.9, 5.2, "∘")
    path(ax, (3.9, 4.85), (3.9, 3.0), colour=ORANGE)
    ax.text(3.75, 4.1, "du_n", ha="right", va="center_baseline")
    ax.text(3.4, 5.2, "∘ r", ha="right", va="center_baseline")
    path(ax, (5.0, 5.2), (5.0, 4.3), colour=ORANGE)
    ax.text(5.15, 4.75, "dr", va="center_baseline")
