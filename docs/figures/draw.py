"""Drawing functions for the figures.

Figures are SVG files that the site inlines. ``INK`` is replaced with ``currentColor``, which is dark in
the light theme and light in the dark theme. The other colours are legible in both themes.
"""

import csv
import re
from collections.abc import Callable
from functools import partial
from math import log10
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.ticker import FuncFormatter

Point = tuple[float, float]
Drawing = Callable[..., None]
DRAWINGS: dict[str, Callable[[], None]] = {}
"""Functions that draw and save each figure, by name."""
FOLDER = Path(__file__).parent
MEASURED = FOLDER.parent / "measured"
INK = "#010203"
BLUE, ORANGE, GREEN = "#3b8fd4", "#e07b22", "#2fa36b"
"""The colours of values, gradients and states. Nothing else has them in the drawings of the course."""
PURPLE, GOLD, PINK = "#8a7be0", "#a88a1c", "#c8609a"
"""The colours of other things that are compared."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "minichar",
    "font.size": 11,
    "text.parse_math": False,
    "lines.linewidth": 2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "legend.frameon": False,
}


def drawing(width: float, height: float, rows: int = 1, columns: int = 1) -> Callable[[Drawing], Drawing]:
    """Register a function that draws the figure of its name, of `width` × `height` inches.

    The function takes one axes object per row and column. The columns of a row share a y-axis, and the rows
    share an x-axis if there is only one column.
    """

    def register(draw: Drawing) -> Drawing:
        DRAWINGS[draw.__name__] = partial(save, draw, (width, height), (rows, columns))
        return draw

    return register


def save(draw: Drawing, size: tuple[float, float], grid: tuple[int, int]) -> None:
    """Draw a figure and save it as ``NAME.svg``."""
    name = draw.__name__
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=size, layout="constrained")
        draw(*fig.subplots(*grid, squeeze=False, sharex=grid[1] == 1, sharey="row").flat)
        path = FOLDER / f"{name}.svg"
        fig.savefig(path, metadata={"Date": None, "Creator": None})
    svg = path.read_text(encoding="utf-8").replace(INK, "currentColor")
    # Prefix all ids with the figure's name, because a page may inline several figures.
    svg = re.sub(r'(id="|url\(#|xlink:href="#)', rf"\1{name}-", svg)
    svg = re.sub(">[^<>]*</text>", lambda text: lowered(text[0]), svg)
    # A hundredth of a point is less than can be seen. Numbers in the text keep their digits.
    svg = re.sub("<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)
    path.write_text(svg[svg.index("<svg") :], encoding="utf-8")


def lowered(text: str) -> str:
    """Set subscripts, such as ``prev`` in ``h_prev``, below the baseline in a smaller font."""
    parts = r'<tspan dy="0.3em" font-size="75%">\1</tspan><tspan dy="-0.225em">\2</tspan>'
    return re.sub("_([A-Za-z]+)([^<_]*)", parts, text)


def measured(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file in ``docs/measured``, without the comments."""
    text = (MEASURED / name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def powers(axis: Axis) -> None:
    """Label the ticks of a logarithmic axis in the form 1e-3, without superscripts."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"1e{round(log10(value))}"))


def canvas(ax: Axes, width: float, height: float) -> None:
    """Turn the axes into a blank canvas of `width` × `height` units with an equal aspect ratio."""
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")


def box(ax: Axes, x: float, y: float, words: str, colour: str = INK, w: float = 1.6, h: float = 0.8) -> None:
    """Draw a box with text, centred at (x, y)."""
    corner, style = (x - w / 2, y - h / 2), "round,pad=0,rounding_size=0.12"
    ax.add_patch(FancyBboxPatch(corner, w, h, style, fc=to_rgba(colour, 0.18), ec=colour, lw=1.4))
    ax.text(x, y, words, ha="center", va="center_baseline")


def dot(ax: Axes, x: float, y: float, sign: str, colour: str = INK) -> None:
    """Draw a binary operation as a circle around its symbol."""
    ax.plot(x, y, "o", markersize=17, mfc="none", mec=colour, mew=1.4)
    ax.text(x, y, sign, ha="center", va="center_baseline")


def matrix(ax: Axes, x: float, y: float, values: np.ndarray, colour: str, form: str = "{:.1f}") -> None:
    """Draw a matrix as a grid of unit squares, with its top-left corner at (x, y).

    Each cell's shade shows the magnitude of its value.
    """
    for (row, column), value in np.ndenumerate(values):
        shade = to_rgba(colour, 0.6 * abs(value) / abs(values).max())
        corner = x + column, y - row - 1
        ax.add_patch(Rectangle(corner, 1, 1, fc=shade, ec=INK, lw=0.8))
        ax.text(x + column + 0.5, y - row - 0.5, signed(value, form), ha="center", va="center_baseline")


def signed(value: float, form: str = "{:.4f}") -> str:
    """Format a number with a minus sign instead of a hyphen."""
    return form.format(value + 0.0).replace("-", "−")  # adding 0 turns -0 into 0


def arrow(ax: Axes, start: Point, end: Point, colour: str = INK) -> None:
    """Draw an arrow from one point to another."""
    style = {
        "arrowstyle": "-|>",
        "mutation_scale": 11,
        "color": colour,
        "lw": 1.4,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    ax.add_patch(FancyArrowPatch(start, end, **style))


def path(ax: Axes, *points: Point, colour: str = INK) -> None:
    """Draw a line through the points, with an arrowhead at the end."""
    ax.plot(*zip(*points[:-1], strict=True), color=colour, lw=1.4, solid_joinstyle="round")
    arrow(ax, points[-2], points[-1], colour)
