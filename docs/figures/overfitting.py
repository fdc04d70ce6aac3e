"""Losses by epoch of the small network in lesson 18, with those of tables of counts."""

from matplotlib.axes import Axes

from minichar.cli.course import definitions, get_lesson

from .draw import GOLD, INK, PURPLE, drawing


@drawing(5.4, 3.6)
def overfitting(ax: Axes) -> None:
    """Run the lesson's training and plot its losses."""
    losses, tables = definitions(get_lesson("18").path)["small"]()
    training, new = losses.T
    epochs = range(1, len(losses) + 1)
    ax.plot(epochs, training, "--", color=GOLD, lw=1.5, label="training")
    ax.plot(epochs, new, color=PURPLE, label="new text")
    best = new.argmin()
    ax.plot(epochs[best], new[best], "o", color=PURPLE, mec=INK)
    for n, name in ((2, "bigram table"), (5, "5-gram table")):
        ax.axhline(tables[n], color=INK, ls=":", lw=1.2)
        ax.text(epochs[-1], tables[n] + 0.02, f"{name} {tables[n]:.3f}", ha="right", va="bottom", fontsize=9)
    ax.set(xlabel="epoch", ylabel="nats per character")
    ax.legend(loc="lower left")
