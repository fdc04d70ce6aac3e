"""Plot loss curves as text for a terminal."""

from collections.abc import Sequence
from math import inf

import numpy as np

from minichar.errors import one_line
from minichar.pictures.curves import Curve, yardsticks

MARKS = "abcdefghijklmnopqrstuvwxyz"
AXIS = 8
"""Minimum width of the loss axis in columns."""
MAX_DIGITS = 17
"""Maximum number of decimal places in a label of the loss axis."""


def text_plot(curves: Sequence[Curve], width: int = 80, height: int = 18) -> str:
    """Return a plot of up to 26 curves as text, with a legend and, for multiple runs, a table.

    The plot is `width` columns wide, and its area is `height` lines high. Each run is represented by a
    letter: lowercase for its validation losses and uppercase for the lowest one. Training losses are plotted
    as dots, and yardsticks as dashed lines. Where marks overlap, uppercase letters are drawn over lowercase
    letters, letters over dots, and dots over dashes.
    """
    legend = [*map(_legend, MARKS, curves)]
    for each, runs in (lines := yardsticks(curves)).items():
        of_runs = f" of {', '.join(MARKS[i] for i in runs)}" if len(lines) > 1 else ""
        legend.append(f"-  yardstick {each}{of_runs}")
    table = ["", *comparison(curves)] if len(curves) > 1 else []
    return "\n".join([*chart(curves, width, height), "", *legend, *table]) + "\n"


def chart(curves: Sequence[Curve], width: int, height: int) -> list[str]:
    """Return the lines of a plot without its legend. For the parameters, see `text_plot`."""
    losses = [each for c in curves for each in (c.history["train_loss"], c.validation()[1])]
    losses.append(np.array([line.loss for line in yardsticks(curves)]))
    # If no validation loss was measured, they are all NaN, which fmin and fmax ignore without a warning.
    low, high = (float(extreme.reduce(np.concatenate(losses))) for extreme in (np.fmin, np.fmax))
    ticks = _ticks(low, high, height)
    axis = max(AXIS, *(len(label) + 2 for label in ticks.values()))
    columns = max(width - axis, 20)
    last = max(c.last_epoch for c in curves)
    canvas = np.full((height, columns), " ")

    def rows(losses: np.ndarray) -> np.ndarray:
        rows = (high - losses) / (high - low) * (height - 1) if high > low else height // 2 + 0 * losses
        return np.rint(rows).astype(int)

    def put(mark: str, epochs: np.ndarray, losses: np.ndarray) -> None:
        places = epochs / last * (columns - 1) if last > 0 else epochs
        canvas[rows(losses), np.rint(places).astype(int)] = mark

    canvas[rows(losses[-1]), ::2] = "-"
    for c in curves:
        put("·", c.history["epoch"], c.history["train_loss"])
    for mark, c in zip(MARKS, curves, strict=False):
        put(mark, *c.validation())
    for mark, c in zip(MARKS, curves, strict=False):
        if best := c.best():
            put(mark.upper(), *map(np.array, best))

    lines = ["nats per character"]
    for row, cells in enumerate(canvas):
        label = f"{ticks[row]} ┤" if row in ticks else "│"
        lines.append(f"{label:>{axis}}{''.join(cells).rstrip()}")
    lines.append(f"{'└':>{axis}}{'─' * columns}")
    lines.append(f"{'0':>{axis + 1}}{f'epoch {round(last, 2):g}':>{columns - 1}}")
    return lines


def comparison(curves: Sequence[Curve]) -> list[str]:
    """Return the lines of a table that compares the runs, the one with the lowest loss first."""
    rows = []
    for mark, curve in zip(MARKS, curves, strict=False):
        lowest = best[1] if (best := curve.best()) else inf
        loss = f"{lowest:.4f}" if best else "-"
        minutes = f"{curve.seconds / 60:.1f}" if curve.seconds else "-"
        line = f"{mark}  {loss:>9}  {curve.parameters:>12,}  {minutes:>7}  {one_line(curve.name)}"
        rows.append((lowest, line))
    heading = f"   {'best loss':>9}  {'parameters':>12}  {'minutes':>7}  run"
    differ = len({curve.text for curve in curves}) > 1
    note = ["losses on different texts are not comparable"] if differ else []
    return [heading, *(line for _, line in sorted(rows)), *note]


def _ticks(low: float, high: float, height: int) -> dict[int, str]:
    """Return the labels for the loss axis, keyed by row: three, or one if all losses are equal."""
    if low == high:
        return {height // 2: f"{high:.3f}"}
    rows = (0, (height - 1) // 2, height - 1)
    values = [high - (high - low) * row / (height - 1) for row in rows]
    labels: list[str] = []
    for digits in range(3, MAX_DIGITS + 1):
        labels = [f"{value:.{digits}f}" for value in values]
        if len({*labels}) == len(labels):
            break
    return dict(zip(rows, labels, strict=True))


def _legend(mark: str, curve: Curve) -> str:
    history, best = curve.history, "no validation loss"
    if lowest := curve.best():
        epoch, loss = lowest
        best = f"validation, best {loss:.4f} at epoch {epoch:.2f} ({mark.upper()})"
    ratios = history["teacher_forcing_ratio"]
    sampled = f", teacher-forcing ratio {_first_to_last(ratios)}" if (ratios != 1).any() else ""
    return (
        f"{mark}  {one_line(curve.name)}: {best}; · training, last {history[-1]['train_loss']:.4f}\n"
        f"   learning rate {_first_to_last(history['learning_rate'])}{sampled}"
    )


def _first_to_last(values: np.ndarray) -> str:
    first, last = values[0], values[-1]
    return f"{first:.3g}" if first == last else f"{first:.3g} → {last:.3g}"
