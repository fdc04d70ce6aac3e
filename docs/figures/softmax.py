"""Probabilities of five characters and the gradient of the loss with respect to their logits."""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.readout import loss_backward, loss_forward

from .draw import BLUE, INK, ORANGE, drawing, signed

CHARACTERS, TARGET = "eaior", 1
LOGITS = np.array([[2.0], [1.0], [0.5], [0.0], [-1.0]])  # (V, 1)


@drawing(4.6, 4.4, rows=2)
def softmax(above: Axes, below: Axes) -> None:
    """Plot p above dlogits."""
    _, cache = loss_forward(np, LOGITS.copy(), np.array([TARGET]), 1)
    p = cache[0][:, 0].copy()  # (V,)
    dlogits = loss_backward(np, cache)[:, 0]  # (V,)

    places = np.arange(len(CHARACTERS))
    above.bar(places, p, 0.7, color=BLUE)
    above.bar(TARGET, 1.0, 0.7, fill=False, ec=INK, ls="--", lw=1.2)
    above.text(TARGET + 0.45, 0.9, "onehot(target)", va="center")
    below.bar(places, dlogits, 0.7, color=ORANGE)
    for ax, values in ((above, p), (below, dlogits)):
        for place, value in zip(places, values, strict=True):
            edge, gap = ("bottom", 0.02) if value > 0 else ("top", -0.04)
            ax.text(place, value + gap, signed(value, "{:.2f}"), ha="center", va=edge, fontsize=10)
        ax.axhline(0, color=INK, lw=0.8)
    above.set(ylabel="p", ylim=(0, 1.05))
    labels = [f"‘{character}’" for character in CHARACTERS]
    below.set(ylabel="dlogits", ylim=(-1.05, 0.75), xticks=places, xticklabels=labels)
