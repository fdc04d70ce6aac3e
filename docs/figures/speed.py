"""Where the time of a training step goes, as measured by ``docs/measured/speed.py``."""

import numpy as np
from matplotlib.axes import Axes

from .draw import GOLD, INK, PINK, PURPLE, drawing, measured

COLOURS = ((PURPLE, 0.6), (GOLD, 0.6), (PINK, 0.6), (GOLD, 0.25), (PURPLE, 0.25), (INK, 0.15))
LABELS = {
    "rnn_size": "H, hidden units",
    "batch_size": "B, sequences",
    "seq_length": "T, time steps",
    "vocab_size": "V, characters",
    "num_layers": "L, layers",
}


@drawing(5.2, 3.2)
def shares(ax: Axes) -> None:
    """Plot the fraction of a training step spent on each kind of operation, for several values of H."""
    rows = measured("shares.csv")
    labels = [f"H = {row.pop('H')}" for row in rows]
    left = np.zeros(len(rows))
    for kind, (colour, alpha) in zip(rows[0], COLOURS, strict=True):
        values = np.array([float(row[kind]) for row in rows])
        bars = ax.barh(labels, values, left=left, color=colour, alpha=alpha, label=kind)
        words = [f"{value:.0%}" if value > 0.04 else "" for value in values]
        ax.bar_label(bars, words, label_type="center", fontsize=10)
        left += values
    ax.set(xlim=(0, 1), xlabel="fraction of a training step")
    ax.invert_yaxis()
    ax.legend(fontsize=10, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@drawing(5.2, 6.4, rows=3, columns=2)
def growth(*panels: Axes) -> None:
    """Plot the time per character against each size, alongside the operation count."""
    rows = measured("growth.csv")
    *plots, last = panels
    for ax, (name, label) in zip(plots, LABELS.items(), strict=True):
        columns = ("value", "microseconds", "operations")
        values, times, flop = np.array(
            [[float(row[column]) for column in columns] for row in rows if row["option"] == name]
        ).T
        ax.loglog(values, times, "o-", color=PURPLE, label="measured")
        ax.loglog(values, times[-1] * flop / flop[-1], "--", color=INK, lw=1, label="number of operations")
        ax.set_xlabel(label)
        ax.set_xticks(values, [f"{value:g}" for value in values])
        ax.minorticks_off()
    for ax in panels[::2]:
        ax.set(ylabel="µs per character", yticks=(10, 100), yticklabels=("10", "100"), ylim=(2, 200))
    last.set_axis_off()
    last.legend(*plots[0].get_legend_handles_labels(), loc="center", fontsize=10)
