"""Two layers, unrolled over four characters, with the shapes of what goes where."""

from matplotlib.axes import Axes

from .draw import BLUE, GREEN, ORANGE, arrow, box, canvas, figure

TEXT = "cats."


def main() -> None:
    """Draw it."""
    figure(draw, 5.4, 5.2, "unrolled")


def draw(ax: Axes) -> None:
    """Draw."""
    canvas(ax, 10.6, 10)
    rows = {"ids": 1.0, "layer 1": 3.2, "layer 2": 5.4, "read-out": 7.3, "target": 9.2}
    for t in range(4):
        x = 3 + 2.1 * t
        ax.text(x, rows["ids"], f"‘{TEXT[t]}’", ha="center", va="center_baseline")
        box(ax, x, rows["layer 1"], f"h{'₁₂₃₄'[t]}", BLUE, w=1.2)
        box(ax, x, rows["layer 2"], f"h{'₁₂₃₄'[t]}", BLUE, w=1.2)
        box(ax, x, rows["read-out"], f"p{'₁₂₃₄'[t]}", ORANGE, w=1.2)
        ax.text(x, rows["target"], f"‘{TEXT[t + 1]}’", ha="center", va="center_baseline")
        for low, high in zip(list(rows.values())[:-1], list(rows.values())[1:], strict=True):
            arrow(ax, (x, low + 0.45), (x, high - 0.45))
    for row in ("layer 1", "layer 2"):
        y = rows[row]
        for t in range(4):
            arrow(ax, (1.5 if t == 0 else 1.5 + 2.1 * t, y), (2.4 + 2.1 * t, y), GREEN)
            if t:
                ax.plot([0.9 + 2.1 * t + 0.6, 1.5 + 2.1 * t], [y, y], color=GREEN, lw=1.4)
        ax.text(0.1, y + 0.35, "state\n(H, B)", va="bottom", fontsize=9)
        ax.plot([0.1, 1.5], [y, y], color=GREEN, lw=1.4)
    for row, words in (
        ("ids", "ids (T, B)"),
        ("layer 1", ""),
        ("layer 2", ""),
        ("read-out", "softmax\n(T, V, B)"),
        ("target", "targets\n(T, B)"),
    ):
        ax.text(0.1, rows[row], words, va="center", fontsize=9)
    ax.text(3.1, 4.3, "(H, B)", fontsize=9, va="center")
    ax.text(3.1, 2.05, "column of Wx", fontsize=9, va="center")
    ax.text(10.4, 0.2, "T = 4 steps →", ha="right", fontsize=9)
