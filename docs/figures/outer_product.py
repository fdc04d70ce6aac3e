"""The gradient of a weight matrix as the outer product of da and [x; 1]."""

import numpy as np
from matplotlib.axes import Axes

from .draw import BLUE, ORANGE, canvas, drawing, matrix

DA = np.array([[0.5], [-1.0], [0.2], [0.0]])  # (G, 1)
S = np.array([[1.2], [-0.4], [0.8], [1.0]])  # [x; 1], (K+1, 1)


@drawing(4.2, 3.8)
def outer_product(ax: Axes) -> None:
    """Draw dW with da on its left and [x; 1]ᵀ above it."""
    canvas(ax, 7.6, 6.9)
    matrix(ax, 1.3, 4.7, DA, ORANGE)
    matrix(ax, 3.0, 6.3, S.T, BLUE)
    matrix(ax, 3.0, 4.7, DA @ S.T, ORANGE, "{:.2f}")
    ax.text(1.8, 4.95, "da", ha="center")
    ax.text(2.8, 5.8, "[x; 1]ᵀ", ha="right", va="center_baseline")
    ax.text(5.0, 0.25, "dW = da @ [x; 1]ᵀ", ha="center")
    for row in range(len(DA)):
        ax.text(1.1, 4.2 - row, f"a{'₁₂₃₄'[row]}", ha="right", va="center_baseline")
    for column, name in enumerate(("x₁", "x₂", "x₃", "bias")):
        ax.text(3.5 + column, 6.5, name, ha="center")
