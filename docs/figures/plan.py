"""The values that minichar chooses for texts of different lengths, from 1,000 to 10 million characters."""

from types import SimpleNamespace

import numpy as np
from matplotlib.axes import Axes

from minichar.training.choose import TimeBudget, choose
from minichar.training.settings import Settings

from .draw import GOLD, INK, PINK, PURPLE, drawing

V = 80
"""Number of distinct characters, as in an English text."""
MINUTES = {1: PINK, 3: PURPLE, 15: GOLD, 60: INK}
ROWS = {
    "rnn_size": "hidden units",
    "dropout": "dropout",
    "weight_decay": "weight decay",
    "max_epochs": "epochs",
}


def chosen(N: int, minutes: float) -> Settings:
    """Return the settings for a text of N characters."""
    text = SimpleNamespace(ids=np.broadcast_to(np.uint8(0), N), vocabulary=range(V), path="", val=None)
    return choose(Settings(), text, budget=TimeBudget(60 * minutes))


@drawing(5, 7.2, rows=len(ROWS))
def plan(*rows: Axes) -> None:
    """Plot each value against the length of the text, with one line per time."""
    N = np.geomspace(1e3, 1e7, 61).astype(int)
    plans = {minutes: [chosen(n, minutes) for n in N] for minutes in MINUTES}

    for ax, (name, label) in zip(rows, ROWS.items(), strict=True):
        for minutes, colour in MINUTES.items():
            values = [getattr(settings, name) for settings in plans[minutes]]
            ax.plot(N, values, color=colour, label=f"{minutes} min")
        ax.set(xscale="log", ylabel=label)
    rows[-1].set(yscale="log", xlabel="characters")
    for axis in (rows[-1].xaxis, rows[-1].yaxis):
        axis.set_major_formatter("{x:,.0f}")
    rows[0].legend(fontsize=10, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
