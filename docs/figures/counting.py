"""Losses of n-gram models of Python's help text, on the text that was counted and on new text."""

import numpy as np
from matplotlib.axes import Axes

from minichar.text.ngram import ngram_losses
from minichar.text.pydocs import pydocs_text

from .draw import GOLD, PURPLE, drawing

COUNTED, NEW = 90_000, 10_000


@drawing(4.8, 3.0)
def counting(ax: Axes) -> None:
    """Plot both losses against n."""
    distinct, ids = np.unique([*pydocs_text()[: COUNTED + NEW]], return_inverse=True)
    counted, new = ids[None, :COUNTED], ids[None, COUNTED:]

    for text, colour, name in ((new, PURPLE, "new text"), (counted[:, :NEW], GOLD, "counted text")):
        losses = ngram_losses(counted, text, len(distinct))
        ax.plot(np.arange(1, len(losses) + 1), losses, "o-", color=colour, label=name)
    ax.set(xlabel="n", ylabel="nats per character", ylim=(0, None))
    ax.legend()
