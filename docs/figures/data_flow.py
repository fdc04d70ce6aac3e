"""Data flow during training and generation."""

from matplotlib.axes import Axes

from .draw import BLUE, INK, ORANGE, arrow, box, canvas, drawing

STAGES = [
    ("text", "my.txt", BLUE),
    ("ids", "(N,) integers", BLUE),
    ("chunks", "inputs and targets, (T, B) ids", BLUE),
    ("network", "logits, V per character", BLUE),
    ("loss", "mean of −log p, nats per character", BLUE),
    ("gradient", "same shapes as the weights", ORANGE),
    ("clip", "each element to ±grad_clip / T", ORANGE),
    ("RMSprop", "θ ← θ − η g / (√m + ε)", ORANGE),
    ("checkpoint", "weights, m, state, history", INK),
    ("generate", "sample a character, feed it back", INK),
]


@drawing(4.6, 6.6)
def data_flow(ax: Axes) -> None:
    """Draw the stages and the arrows between them."""
    canvas(ax, 8, 11.6)
    for i, (name, what, colour) in enumerate(STAGES):
        y = 11 - 1.15 * i
        box(ax, 1.8, y, name, colour, w=2.6)
        ax.text(3.4, y, what, va="center_baseline")
        if i:
            arrow(ax, (1.8, y + 0.75), (1.8, y + 0.4))
    # The next chunk uses the updated weights.
    top, bottom = 11 - 1.15 * 3, 11 - 1.15 * 7
    ax.plot([0.5, 0.15, 0.15], [bottom, bottom, top], color=ORANGE, lw=1.4)
    arrow(ax, (0.15, top), (0.5, top), ORANGE)
    ax.text(0.02, (top + bottom) / 2, "next chunk", rotation=90, ha="center", va="center")
