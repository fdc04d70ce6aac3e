"""Loss of each trial of the search for better options, relative to the plan's."""

from itertools import groupby

from matplotlib.axes import Axes

from .draw import GOLD, INK, PURPLE, drawing, measured

LIMITS = -0.1, 0.5


@drawing(5.2, 3.6)
def regret(ax: Axes) -> None:
    """Plot one row per text, and one point per change of the plan, at its effect on the loss."""
    rows = measured("trials/regret.csv")
    cells = {
        cell: [float(row["end"]) for row in trials if "seed" not in row["changed"]]
        for cell, trials in groupby(rows, key=lambda row: (row["text"], int(row["N"])))
    }
    ax.axvline(0, color=INK, lw=1)
    for y, (plan, *changed) in enumerate(cells.values()):
        effects = [loss - plan for loss in changed]
        ax.plot(effects, [y] * len(effects), "o", color=GOLD, label="changed options" if y == 0 else None)
    ax.plot([0] * len(cells), range(len(cells)), "D", color=PURPLE, label="plan")
    ax.set_yticks(range(len(cells)), [f"{name}, {N:,}" for name, N in cells])
    ax.set(xlim=LIMITS, ylim=(len(cells) - 0.5, -0.5), xlabel="loss, minus the loss of the plan")
    ax.grid(axis="y", color=INK, alpha=0.15, lw=0.8)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.legend(fontsize=10, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
