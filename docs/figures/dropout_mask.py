"""Dropout applied to five units, with the same mask in the forward and backward passes."""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine import dropout

from .draw import BLUE, INK, ORANGE, canvas, drawing, matrix

H = np.array([[0.6], [-0.2], [0.9], [-0.7], [0.3]])  # (H, 1)
DY = np.array([[0.1], [0.4], [-0.3], [0.2], [-0.5]])  # (H, 1)
MASK = np.array([[2.0], [0.0], [2.0], [0.0], [2.0]])  # p = 0.5, so kept units are scaled by 2


@drawing(4.6, 3.2)
def dropout_mask(ax: Axes) -> None:
    """Draw ``mask ∘ h = y`` and ``mask ∘ dy = dh`` as column vectors."""
    canvas(ax, 10.4, 6.8)
    products = (
        (0.0, "forward", BLUE, ("mask", "h", "y"), (MASK, H, dropout.forward(H, MASK))),
        (5.6, "backward", ORANGE, ("mask", "dy", "dh"), (MASK, DY, dropout.backward(DY, MASK))),
    )
    for left, title, colour, names, columns in products:
        ax.text(left + 2.3, 6.2, title, ha="center")
        for x, name, column in zip((left, left + 1.8, left + 3.6), names, columns, strict=True):
            matrix(ax, x, 5.0, column, INK if name == "mask" else colour)
            ax.text(x + 0.5, 5.3, name, ha="center")
        for x, sign in ((left + 1.4, "∘"), (left + 3.2, "=")):
            ax.text(x, 2.5, sign, ha="center", va="center_baseline")
