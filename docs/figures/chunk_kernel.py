"""A layer in one GPU kernel: where a block keeps its data, and what it does in each time step."""

from matplotlib.axes import Axes

from .draw import BLUE, GREEN, INK, arrow, box, canvas, drawing, path


@drawing(5, 4.4)
def chunk_kernel(ax: Axes) -> None:
    """Draw one block in front of the others, and the memory of the GPU below them."""
    canvas(ax, 11.2, 9.2)
    for shift in (0.5, 0.25):
        ax.plot(
            [0.3 + shift, 10.4 + shift, 10.4 + shift],
            [8.7 + shift, 8.7 + shift, 2.5 + shift],
            color=INK,
            lw=1,
        )
    ax.plot([0.3, 10.4, 10.4, 0.3, 0.3], [8.7, 8.7, 2.5, 2.5, 8.7], color=INK, lw=1.4)
    ax.text(0.6, 8.15, "a block: one sequence, all T steps", va="center_baseline")
    # One step, clockwise.
    box(ax, 2.2, 6.6, "h_prev", GREEN, w=2.4)
    ax.text(2.2, 5.85, "shared memory", ha="center", va="center_baseline", fontsize=10)
    box(ax, 5.4, 6.6, "W_h", INK, w=2.4)
    ax.text(5.4, 5.85, "registers", ha="center", va="center_baseline", fontsize=10)
    box(ax, 8.7, 6.6, "partial sums", BLUE, w=2.6)
    ax.text(8.7, 5.85, "shared memory", ha="center", va="center_baseline", fontsize=10)
    arrow(ax, (3.4, 6.6), (4.2, 6.6))
    arrow(ax, (6.6, 6.6), (7.4, 6.6))
    box(ax, 5.4, 3.9, "cell", INK, w=2.4)
    path(ax, (8.7, 5.5), (8.7, 3.9), (6.6, 3.9))
    path(ax, (4.2, 3.9), (2.2, 3.9), (2.2, 5.5), colour=GREEN)
    ax.text(8.85, 4.7, "sync", va="center_baseline")
    ax.text(2.05, 4.7, "sync", ha="right", va="center_baseline")
    ax.text(3.2, 4.1, "h", ha="center")
    # What a step reads and writes.
    box(ax, 5.4, 0.75, "memory of the GPU", INK, w=9.6)
    arrow(ax, (4.9, 1.15), (4.9, 3.5))
    ax.text(4.75, 2.05, "a", ha="right", va="center_baseline")
    arrow(ax, (5.9, 3.5), (5.9, 1.15))
    ax.text(6.05, 2.05, "h, c, cache", va="center_baseline")
