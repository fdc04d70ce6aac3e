"""How data flows through a step of training, and from there to a text."""

from matplotlib.axes import Axes

from .draw import BLUE, GREEN, ORANGE, arrow, box, canvas, figure

WAY = [
    ("text", "my.txt", GREEN),
    ("ids", "(N,) integers", GREEN),
    ("chunks", "(T, B) ids, and the next ones", GREEN),
    ("network", "logits (T, V, B)", BLUE),
    ("loss", "mean of −log p, nats per character", BLUE),
    ("gradient", "a twin of all weights", ORANGE),
    ("clip", "no element beyond ±5 / T", ORANGE),
    ("RMSprop", "θ ← θ − η g / (√m + ε)", ORANGE),
    ("checkpoint", "weights, m, state, history", GREEN),
    ("sample", "draw a character, feed it back", GREEN),
]


def main() -> None:
    """Draw it from top to bottom, so that it fits a phone."""
    figure(draw, 4.6, 6.6, "data_flow")


def draw(ax: Axes) -> None:
    """Draw."""
    canvas(ax, 8, 11.6)
    for i, (name, what, colour) in enumerate(WAY):
        y = 11 - 1.15 * i
        box(ax, 1.8, y, name, colour, w=2.6)
        ax.text(3.4, y, what, va="center_baseline")
        if i:
            arrow(ax, (1.8, y + 0.75), (1.8, y + 0.4))
    # The weights that RMSprop has changed are those of the next step.
    top, bottom = 11 - 1.15 * 3, 11 - 1.15 * 7
    ax.plot([0.5, 0.15, 0.15], [bottom, bottom, top], color=ORANGE, lw=1.4)
    arrow(ax, (0.15, top), (0.5, top), ORANGE)
    ax.text(0.02, (top + bottom) / 2, "next chunk", rotation=90, ha="center", va="center")
