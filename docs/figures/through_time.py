"""Backpropagation through three time steps of a single unit, with the numbers from lesson 8."""

from math import tanh

from matplotlib.axes import Axes

from .draw import GREEN, ORANGE, arrow, box, canvas, drawing, signed

W_H, W_X, H_0 = 0.8, 0.5, 0.3
X = (0.9, -0.4, 0.7)
DH_ABOVE = (0.7, -0.2, 1.0)
T = len(X)
DIGITS = "₀₁₂₃"


@drawing(4.8, 4.2)
def through_time(ax: Axes) -> None:
    """Draw the states, their incoming gradients, and each step's contribution to dw_h."""
    h, da = [H_0], [0.0] * (T + 2)  # da_{T+1} is 0
    for x in X:
        h.append(tanh(W_H * h[-1] + W_X * x))
    for t in range(T, 0, -1):
        da[t] = (DH_ABOVE[t - 1] + W_H * da[t + 1]) * (1 - h[t] ** 2)

    canvas(ax, 12, 10.6)
    states, terms, total = 6.4, 2.9, 0.6
    places = [0.6 + 3.4 * t for t in range(T + 1)]
    ax.text(places[0], states + 0.4, f"h₀ = {H_0}", ha="center", va="center_baseline")
    for t in range(1, T + 1):
        here, before, step = places[t], places[t - 1], DIGITS[t]
        box(ax, here, states, f"h{step}\n{signed(h[t])}", GREEN, w=1.7, h=1.6)
        arrow(ax, (before + 0.9, states + 0.4), (here - 0.9, states + 0.4), GREEN)
        ax.text(here, 10.1, f"dL{step}/dh{step}", ha="center", va="center_baseline")
        arrow(ax, (here, 9.7), (here, states + 0.85), ORANGE)
        ax.text(here + 0.15, 8.5, signed(DH_ABOVE[t - 1], "{:.1f}"), va="center_baseline")
        if t > 1:
            arrow(ax, (here - 0.9, states - 0.4), (before + 0.9, states - 0.4), ORANGE)
            words = f"w_h da{step}\n{signed(W_H * da[t])}"
            ax.text((here + before) / 2, states - 0.65, words, ha="center", va="top", fontsize=10)
        arrow(ax, (here, states - 0.85), (here, terms + 0.85), ORANGE)
        ax.text(here - 0.25, 4.1, f"da{step}", ha="right", va="center_baseline")
        words = f"da{step} h{DIGITS[t - 1]}\n{signed(da[t] * h[t - 1])}"
        box(ax, here, terms, words, ORANGE, w=2.2, h=1.6)
        arrow(ax, (here, terms - 0.85), (here, total + 0.45), ORANGE)
    dw_h = sum(da[t] * h[t - 1] for t in range(1, T + 1))
    box(ax, places[2], total, f"dw_h = {signed(dw_h)}", ORANGE, w=9)
