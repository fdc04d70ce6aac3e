"""Plot a run in progress, and redraw the plot whenever the run saves a checkpoint."""

import sys
from contextlib import suppress
from functools import partial
from itertools import accumulate, count
from pathlib import Path
from time import sleep
from unicodedata import east_asian_width

import click

from minichar.checkpoints.checkpoint import load
from minichar.checkpoints.choosing import open_checkpoint
from minichar.cli import INTERRUPTED
from minichar.cli.report import sample_line
from minichar.errors import MinicharError, one_line
from minichar.files import is_shared
from minichar.model import CharRNN
from minichar.pictures.curves import Curve, read_curve
from minichar.pictures.terminal import chart
from minichar.terminal import say, unescaped

INTERVAL = 1.0
"""Time between checks for new checkpoints, in seconds."""
START = 60
"""Number of checks before the error if a directory has neither a run nor a checkpoint.

``minichar train`` creates the directory only after it has read the text and measured the speed.
"""
HEIGHT = 12
"""Height of the plotting area in lines. The whole plot fits in a terminal with 24 lines."""


def follow(folder: Path, width: int) -> None:
    """Plot the newest run in a directory until no process is saving checkpoints there.

    If the run has not been evaluated or has yet to start, wait for its first evaluation.
    """
    drawn, before, seen = 0, None, False
    try:
        for check in count():
            running = is_shared(folder)  # before the check for checkpoints, so that the last one is drawn
            now = listing(folder)
            seen = seen or running
            if now != before or not drawn:
                before = now
                try:
                    lines = picture(folder, width)
                except MinicharError:
                    if not running and (now or seen or check >= START):
                        raise
                    if check == 0:
                        missing = "" if folder.exists() else " (which does not exist yet)"
                        say(f"waiting for the first evaluation in {folder}/{missing}; press Ctrl-C to stop")
                else:
                    draw(lines, drawn)
                    drawn = len(lines)
            if drawn and not running:
                break
            sleep(INTERVAL)
    except KeyboardInterrupt as error:
        raise click.exceptions.Exit(INTERRUPTED) from error
    say(f"the run in {folder}/ has ended" if seen else f"no run is saving to {folder}/")


def listing(folder: Path) -> list[tuple[Path, int]]:
    """Return the checkpoints in a directory and their modification times."""
    found = []
    for path in sorted(folder.glob("*.npz")):
        with suppress(FileNotFoundError):  # the run has deleted it
            found.append((path, path.stat().st_mtime_ns))
    return found


def picture(folder: Path, width: int) -> list[str]:
    """Return the lines of the plot, followed by the losses and a sample of the newest model."""
    _, (curve, model) = open_checkpoint(folder, partial(read, name=str(folder)), newest=True)
    return [cut(line, width - 1) for line in (*chart([curve], width - 1, HEIGHT), "", *status(curve, model))]


def read(path: Path, name: str) -> tuple[Curve, CharRNN]:
    """Return the history and the model in a checkpoint."""
    return read_curve(path, name), load(path)


def status(curve: Curve, model: CharRNN) -> list[str]:
    """Return lines with the progress of a run, its losses, each after its mark in the plot, and a sample."""
    last, best, epoch = curve.history[-1], curve.best(), model.details.get("epoch")
    progress = [f"epoch {epoch if isinstance(epoch, float) else last['epoch']:.2f}"]
    if curve.seconds:
        progress.append(f"{curve.seconds / 60:.1f} min")
    losses = [f"· training {last['train_loss']:.4f}"]
    if last["val_loss"] is not None:  # a time limit can end the run before the last evaluation
        losses.append(f"a validation {last['val_loss']:.4f}")
    if best:
        losses.append(f"A best {best[1]:.4f}")
    return [
        one_line(f"{curve.name}: {', '.join([*progress, f'{curve.parameters:,} parameters'])}"),
        ", ".join(losses),
        *([f"- yardstick {curve.yardstick}"] if curve.yardstick else ()),
        one_line(f"sample: {sample_line(model, last['iteration'])}"),
    ]


def cut(line: str, width: int) -> str:
    """Return the start of a line that fits `width` columns. A line that wraps could not be redrawn."""
    ends = accumulate(1 + (east_asian_width(character) in "WF") for character in line)
    return line[: sum(end <= width for end in ends)]


def draw(lines: list[str], drawn: int) -> None:
    """Print lines and, on a terminal, replace the last `drawn` lines printed."""
    if drawn and sys.stdout.isatty():
        print(f"\x1b[{drawn}A\x1b[J", end="", file=unescaped(sys.stdout), flush=True)
    elif drawn:
        print()
    print("\n".join(lines), flush=True)
