"""Plot loss curves with Matplotlib."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minichar.errors import MinicharError
from minichar.extras import need
from minichar.files import writing
from minichar.pictures.curves import Curve, yardsticks

FORMATS = (".svg", ".png")
STYLE = {
    "svg.fonttype": "none",  # store text as text, not as paths
    "svg.hashsalt": "minichar",  # make the output reproducible
    "agg.path.chunksize": 10_000,  # limit the memory for long lines
    "text.parse_math": False,  # treat $ in names literally
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""The colour-blind-friendly palette of Okabe and Ito."""

MARKED = 1000
"""Maximum number of evaluations in a run for which markers are drawn."""


@contextmanager
def saving(path: Path) -> Iterator[Callable[[Any], None]]:
    """Yield a function that saves a Matplotlib figure, which must be drawn in the ``with`` block.

    If the suffix is unknown, Matplotlib is missing or the file cannot be written, this raises a
    `MinicharError`.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise MinicharError(f"cannot plot to {path}: its name must end in {' or '.join(FORMATS)}")
    matplotlib = need("matplotlib", "plot", what="a figure")
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as a box

        def save(figure: Any) -> None:
            with writing(path) as file:
                metadata = {"Date": None} if kind == ".svg" else None
                figure.savefig(file, format=kind[1:], dpi=150, metadata=metadata)

        yield save


def save_figure(curves: Sequence[Curve], path: Path) -> None:
    """Plot the losses, learning rate and teacher-forcing ratio versus epoch (see `saving`)."""
    with saving(path) as save:
        figure = need("matplotlib.figure", "plot", what="a figure").Figure((8, 6), layout="constrained")
        above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        ratios = below.twinx()
        for i, curve in enumerate(curves):
            colour = COLOURS[i % len(COLOURS)]
            history, epochs = curve.history, curve.history["epoch"]
            # Without markers, a single measurement would be invisible. With markers, Matplotlib does not
            # simplify the line, so a long history would make a huge file.
            style = {"color": colour, "marker": "." if len(history) <= MARKED else ""}
            label = f"{curve.name}: training"
            above.plot(epochs, history["train_loss"], "--", **style, alpha=0.6, label=label, gid="training")
            if best := curve.best():
                epoch, loss = best
                label = f"{curve.name}: validation, best {loss:.4f} at epoch {epoch:.2f}"
                above.plot(*curve.validation(), **style, label=label, gid="validation")
                above.plot(epoch, loss, "o", color=colour, markersize=8, gid="best")
            below.plot(epochs, history["learning_rate"], **style, gid="rate")
            ratios.plot(epochs, history["teacher_forcing_ratio"], ":", **style, gid="ratio")
        lines = yardsticks(curves)
        for each, runs in lines.items():
            label, colour = f"yardstick {each}", "grey"
            if len(lines) > 1:
                label += f" of {', '.join(curves[i].name for i in runs)}"
                colour = COLOURS[runs[0] % len(COLOURS)]
            above.axhline(each.loss, color=colour, linewidth=1, label=label, gid="yardstick")
        above.set_ylabel("loss, nats per character")
        above.legend(loc="upper right")  # finding the best place takes long for long histories
        above.grid(alpha=0.3)
        below.set_ylabel("learning rate (—)")
        below.set_xlabel("epoch")
        below.set_ylim(bottom=0)
        ratios.set_ylabel("teacher-forcing ratio (···)")
        ratios.set_ylim(0, 1.05)
        save(figure)
