"""Plot loss curves as text for a terminal."""

from collections.abc import Sequence

from minichar.pictures.curves import Curve

MARKS = "abcdefghijklmnopqrstuvwxyz"
AXIS = 8
"""Minimum width of the loss axis in columns."""
MAX_DIGITS = 17
"""Maximum number of decimal places in a label of the loss axis."""


def text_plot(curves: Sequence[Curve], width: int = 80, height: int = 18) -> str:
    """Return a plot of the curves as text.

    Each run is represented by a letter: lowercase for its validation losses and uppercase for the lowest
    one. Training losses are plotted as dots. Where marks overlap, uppercase letters are drawn over lowercase
    letters, and letters over dots.

    Parameters
    ----------
    curves : sequence of Curve
        At most 26 curves.
    width, height : int
        Width of the plot in columns, and height of the plotting area in lines.
    """
    losses = [loss for c in curves for loss in (*c.train, *c.val) if loss is not None]
    low, high = min(losses), max(losses)
    ticks = _ticks(low, high, height)
    axis = max(AXIS, *(len(label) + 2 for label in ticks.values()))
    columns = max(width - axis, 20)
    last = max(epoch for c in curves for epoch in c.epochs)
    canvas = [[" "] * columns for _ in range(height)]

    def put(epoch: float, loss: float, mark: str) -> None:
        row = round((high - loss) / (high - low) * (height - 1)) if high > low else height // 2
        canvas[row][round(epoch / last * (columns - 1)) if last > 0 else 0] = mark

    for c in curves:
        for epoch, loss in zip(c.epochs, c.train, strict=True):
            put(epoch, loss, "·")
    for mark, c in zip(MARKS, curves, strict=False):
        for epoch, val in zip(c.epochs, c.val, strict=True):
            if val is not None:
                put(epoch, val, mark)
    for mark, c in zip(MARKS, curves, strict=False):
        if c.best:
            put(*c.best, mark.upper())

    lines = ["nats per character"]
    for row, cells in enumerate(canvas):
        label = f"{ticks[row]} ┤" if row in ticks else "│"
        lines.append(f"{label:>{axis}}{''.join(cells).rstrip()}")
    lines.append(f"{'└':>{axis}}{'─' * columns}")
    lines.append(f"{'0':>{axis + 1}}{f'epoch {round(last, 2):g}':>{columns - 1}}")
    return "\n".join([*lines, "", *map(_legend, MARKS, curves)]) + "\n"


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
    best = "no validation loss"
    if curve.best:
        epoch, loss = curve.best
        best = f"validation, best {loss:.4f} at epoch {epoch:.2f} ({mark.upper()})"
    return (
        f"{mark}  {curve.name}: {best}; · training, last {curve.train[-1]:.4f}\n"
        f"   learning rate {_first_to_last(curve.learning_rate)}, "
        f"teacher-forcing ratio {_first_to_last(curve.teacher_forcing_ratio)}"
    )


def _first_to_last(values: Sequence[float]) -> str:
    first, last = values[0], values[-1]
    return f"{first:.3g}" if first == last else f"{first:.3g} → {last:.3g}"
