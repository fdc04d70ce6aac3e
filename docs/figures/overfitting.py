"""The losses in lesson 18's tables: those of a small network by epoch, and those of two tables of counts."""

import re

import numpy as np
from matplotlib.axes import Axes

from minichar.cli.course import get_lesson

from .draw import GOLD, INK, PURPLE, drawing

ROW = re.compile(r"^ +(\d+) +(\d\.\d+) +(\d\.\d+)$", re.MULTILINE)
COUNTS = re.compile(r"(bigram|5-gram) table[^.]*?(\d\.\d{3})")


@drawing(5.4, 3.6)
def overfitting(ax: Axes) -> None:
    """Plot the lesson's numbers."""
    story = get_lesson("18").story
    epochs, training, new = np.array(ROW.findall(story), float).T
    ax.plot(epochs, training, ".--", color=GOLD, lw=1.5, label="training")
    ax.plot(epochs, new, ".-", color=PURPLE, label="new text")
    best = new.argmin()
    ax.plot(epochs[best], new[best], "o", color=PURPLE, mec=INK)
    for name, loss in COUNTS.findall(story):
        ax.axhline(float(loss), color=INK, ls=":", lw=1.2)
        ax.text(epochs[-1], float(loss) + 0.02, f"{name} table {loss}", ha="right", va="bottom")
    ax.set(xlabel="epoch", ylabel="nats per character")
    ax.legend(loc="lower left")
