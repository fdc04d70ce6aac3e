"""Loss on tinyshakespeare against training time, with the yardstick and the loss that char-rnn reports."""

from matplotlib.axes import Axes

from .draw import GOLD, INK, PINK, PURPLE, drawing, measured

COLOURS = {"plan": PURPLE, "chosen by hand": GOLD, "char-rnn's options": PINK}
TICKS = (0.5, 1, 2, 5, 10, 20, 60)


@drawing(5.2, 4.4)
def quality(ax: Axes) -> None:
    """Plot one point per run, and a line for each loss without a time."""
    rows = measured("results.csv")
    for row in (row for row in rows if not row["minutes"]):
        loss = float(row["loss"])
        ax.axhline(loss, color=INK, lw=1, ls="--")
        ax.text(60, loss + 0.004, row["options"], ha="right", va="bottom", fontsize=10)
    for options, colour in COLOURS.items():
        runs = [row for row in rows if row["options"] == options]
        minutes, losses = ([float(row[name]) for row in runs] for name in ("minutes", "loss"))
        ax.plot(minutes, losses, "o", color=colour, label=options)
        for x, y, run in zip(minutes, losses, runs, strict=True):
            ax.annotate(run["model"], (x, y), (5, -13), textcoords="offset points", fontsize=10)
    ax.set(xscale="log", xlim=(0.5, 120), ylim=(1.22, 1.48), xlabel="minutes on one core", ylabel="loss")
    ax.set_xticks(TICKS, map(str, TICKS))
    ax.minorticks_off()
    ax.legend(fontsize=10, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
