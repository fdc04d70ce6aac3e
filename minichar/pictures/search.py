"""Plot a hyperparameter search: the importance of each option, and the trials in parallel coordinates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from textwrap import wrap
from typing import Any

from minichar.errors import AUTOMATIC
from minichar.pictures.figure import COLOURS, drawing
from minichar.pictures.terminal import MARKS

BAR = "█"
HEIGHT = 13
"""Height of an axis, in rows."""
LABEL = 10
"""Width of the tick labels, in columns."""


@dataclass(frozen=True)
class Axis:
    """A vertical axis with one value per trial, on the scale "linear", "log" or "choices".

    Choices are equally spaced, in increasing order. None is below all other choices.
    """

    name: str
    values: Sequence[Any]
    scale: str = "linear"

    def heights(self) -> list[float]:
        """Return the position of each value, from 0 for the lowest to 1 for the highest."""
        values = self.values
        if self.scale == "choices":
            order = sorted(set(values), key=lambda value: (value is not None, value))
            values = [order.index(value) for value in values]
        elif self.scale == "log":
            values = [log(value) for value in values]
        low, high = min(values), max(values)
        return [(value - low) / (high - low) if high > low else 0.5 for value in values]

    def ticks(self) -> dict[float, str]:
        """Return the tick labels, keyed by position: one per choice, or the lowest and highest values."""
        at = dict(zip(self.heights(), self.values, strict=True))
        chosen = at if self.scale == "choices" else {min(at), max(at)}
        return {height: label(at[height]) for height in chosen}


def label(value: Any) -> str:
    """Return a value as text: ``auto`` for None, and four significant digits for a float."""
    if value is None:
        return AUTOMATIC.flag
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search_text(
    numbers: Sequence[int], axes: Sequence[Axis], importance: Mapping[str, float], width: int
) -> str:
    """Return the plots as text, `width` columns wide, with a letter for each of the best 26 trials.

    `numbers` are the trial numbers in order of increasing loss, and the values of each axis are in the same
    order. `importance` is empty if it is unknown. Lines that are too long for their axis's column end with
    ``…``.
    """
    lines = []
    longest = max(map(len, importance), default=0)
    for name, value in importance.items():
        bar = BAR * round(value * (width - longest - 7))
        lines.append(f"{name:{longest}}  {value:.2f} {bar}".rstrip())
    column = max(width // len(axes), LABEL + 8)
    titles = (f"{axis.name:>{LABEL}}{'':{column - max(LABEL, len(axis.name))}}" for axis in axes)
    lines += ["", "".join(titles).rstrip()]
    columns = [_column(axis, column) for axis in axes]
    lines += ["".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    legend = ", ".join(f"{mark} {number}" for mark, number in zip(MARKS, numbers, strict=False))
    lines += ["", *wrap(f"trials: {legend}", width)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _column(axis: Axis, width: int) -> list[str]:
    """Return one axis as lines of text, with its tick labels and the best trials' letters."""
    rows = [round((1 - height) * (HEIGHT - 1)) for height in axis.heights()]
    ticks = {round((1 - height) * (HEIGHT - 1)): text for height, text in axis.ticks().items()}
    cells = []
    for row in range(HEIGHT):
        letters = "".join(mark for mark, at in zip(MARKS, rows, strict=False) if at == row)
        cell = f"{ticks.get(row, ''):>{LABEL}} {'┤' if row in ticks else '│'}{letters}"
        if len(cell) >= width:
            cell = f"{cell[: width - 2]}…"
        cells.append(f"{cell:<{width}}")
    return cells


def save_search_figure(axes: Sequence[Axis], importance: Mapping[str, float], path: Path) -> None:
    """Plot importance and parallel coordinates (see `drawing`). The best trial has a different colour."""
    with drawing(path, 4 + 1.6 * len(axes), 4) as figure:
        bars, lines = figure.subplots(1, 2, width_ratios=(1, 0.6 * len(axes)))
        bars.barh([*importance], [*importance.values()], color=COLOURS[0], gid="importance")
        bars.invert_yaxis()
        bars.set_xlabel("importance")
        trials = [*zip(*(axis.heights() for axis in axes), strict=True)]
        for i, heights in reversed([*enumerate(trials)]):
            style = {"color": COLOURS[0], "alpha": max(0.15, 0.7 - i / len(trials))}
            if i == 0:
                style = {"color": COLOURS[1], "linewidth": 2.5}
            lines.plot(heights, **style, gid="trial" if i else "best")
        for x, axis in enumerate(axes):
            lines.axvline(x, color="black", linewidth=0.8)
            for height, label in axis.ticks().items():
                lines.annotate(label, (x, height), (3, 3), textcoords="offset points", fontsize=8)
        lines.set_xticks(range(len(axes)), [axis.name for axis in axes])
        lines.set_yticks([])
        lines.margins(x=0.12)
        lines.spines[["left", "right", "top", "bottom"]].set_visible(False)
