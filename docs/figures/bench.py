"""Throughput relative to PyTorch, as measured by the commands in ``docs/measured/bench.md``."""

from matplotlib.axes import Axes

from .draw import GOLD, INK, PURPLE, drawing, measured

RATIOS = {
    "ratio": (PURPLE, "standard PyTorch"),
    "ratio_retained_memory": (GOLD, "PyTorch, malloc retains memory"),
}
TICKS = (0.5, 0.7, 1, 1.5, 2, 3)


@drawing(5.2, 5.8)
def bench(ax: Axes) -> None:
    """Plot one row per benchmark, with minichar's throughput on the right."""
    rows = measured("bench.csv")
    ax.axvline(1, color=INK, lw=1)
    for column, (colour, label) in RATIOS.items():
        points = [(float(row[column]), y) for y, row in enumerate(rows) if row[column]]
        ax.plot(*zip(*points, strict=True), "o", color=colour, label=label)
    ax.set_yticks(range(len(rows)), [row["benchmark"] for row in rows])
    ax.set(xscale="log", xlim=(0.5, 4), ylim=(len(rows) - 0.5, -0.5))
    ax.set_xticks(TICKS, map(str, TICKS))
    ax.minorticks_off()
    ax.set_xlabel("speed of minichar / speed of PyTorch")
    ax.grid(axis="y", color=INK, alpha=0.15, lw=0.8)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    speeds = ax.secondary_yaxis("right")
    speeds.set_yticks(range(len(rows)), [f"{int(row['characters_per_second']):,}" for row in rows])
    speeds.set_ylabel("characters/s")
    speeds.tick_params(length=0)
    speeds.spines["right"].set_visible(False)
    ax.legend(fontsize=10, loc="upper center", bbox_to_anchor=(0.5, -0.11))
