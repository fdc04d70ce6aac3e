"""Gradients with respect to earlier inputs in the untrained networks of lesson 12."""

from matplotlib.axes import Axes

from minichar.cli.course import definitions, get_lesson

from .draw import GOLD, PINK, PURPLE, drawing, powers

STYLES = {
    "RNN": (GOLD, "-"),
    "GRU": (PINK, "-"),
    "LSTM (0)": (PURPLE, ":"),
    "LSTM (1)": (PURPLE, "-"),
    "LSTM (5)": (PURPLE, "--"),
}


@drawing(4.8, 3.2)
def vanishing(ax: Axes) -> None:
    """Plot every step of the rows of the lesson's table."""
    for name, norms in definitions(get_lesson("12").path)["measured"]().items():
        colour, line = STYLES[name]
        ax.semilogy(norms, line, color=colour, label=name)
    ax.set(xlabel="steps before the loss", ylabel="relative gradient", ylim=(1e-45, 1e3))
    powers(ax.yaxis)
    ax.legend()
