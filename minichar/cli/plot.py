"""``minichar plot``."""

import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import sleep

import click

from minichar.checkpoints.checkpoint import load
from minichar.checkpoints.choosing import open_checkpoint
from minichar.cli.options import MODEL, OUTPUT, GroupedCommand, argument, print_path
from minichar.cli.report import sample_line
from minichar.errors import MinicharError, one_line
from minichar.files import is_shared
from minichar.pictures.curves import Curve, NotEvaluated, read_curve
from minichar.pictures.figure import save_figure, saving
from minichar.pictures.terminal import MARKS, text_plot
from minichar.sweep.study import is_sweep, open_study, results, slices
from minichar.terminal import say, unescaped

INTERVAL = 1.0
"""Time between checks for new checkpoints, in seconds."""
HEIGHT = 12
"""Height of the plotting area of a run in progress, in lines: the plot fits in a terminal with 24 lines."""
CLEAR = "\x1b[2J\x1b[H"
"""Control sequence that clears a terminal."""


@click.command("plot", cls=GroupedCommand)
@argument(
    "checkpoints",
    "Checkpoints, directories of checkpoints, or the directory of a sweep. For a directory of checkpoints, "
    "the newest run is plotted.  [default: cv]",
    nargs=-1,
    metavar="[CHECKPOINT]...",
    type=MODEL,
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OUTPUT,
    help='Save the plot as an .svg or .png file (requires `pip install "minichar[plot]"`).  '
    "[default: print as text]",
)
@click.option(
    "--follow",
    "followed",
    is_flag=True,
    help="Redraw the plot, with a sample, whenever the run saves a checkpoint, until the run ends.",
)
def command(checkpoints: tuple[Path, ...], output: Path | None, followed: bool) -> None:
    """Plot loss versus epoch for one or more training runs, or the trials of a sweep.

    Shows the training loss and the validation loss, and marks the lowest validation loss. The learning
    rate and the teacher-forcing ratio are shown below the loss.

    For a sweep, saves a figure of the loss of each completed trial versus the value of each option.

    For multiple runs, a table compares their losses, parameter counts and training times.

    Without -o, the plot is printed as text. With -o, it is saved as a figure, and the path is printed.
    """
    if len(checkpoints) > len(MARKS):
        raise click.UsageError(f"a plot can show at most {len(MARKS)} runs")
    if followed:
        folder, *others = checkpoints or (Path("cv"),)
        if others or output or folder.is_file():
            raise click.UsageError("--follow plots one run as text: specify only its directory")
        follow(folder)
    elif any(map(is_sweep, checkpoints)):
        plot_sweep(checkpoints, output)
    else:
        plot_runs(checkpoints or (None,), output)


def plot_runs(checkpoints: Sequence[Path | None], output: Path | None) -> None:
    """Plot the history of each run, except those that have not been evaluated. There must be another one."""
    curves: list[Curve] = []
    skipped = []
    for given in checkpoints:
        read = partial(read_curve, name=click.format_filename(given or "cv"))
        try:
            curves.append(open_checkpoint(given, read, newest=True)[1])
        except NotEvaluated as error:
            skipped.append(error)
    if not curves:
        raise skipped[0]
    if output is None:
        click.echo(text_plot(curves, width()), nl=False)
    else:
        save_figure(curves, output)
        print_path(output)
    for reason in skipped:
        say(f"left out: {reason}")


def follow(folder: Path) -> None:
    """Plot the newest run in a directory, with a sample, until no process is saving checkpoints there."""
    running, drawn, before = True, False, None
    while running:
        running = is_shared(folder)  # before the check for checkpoints, so that the last one is drawn
        now = sorted(folder.glob("*.npz"))
        if now != before or not (running or drawn):
            try:
                _, picture = open_checkpoint(folder, partial(picture_of, name=str(folder)), newest=True)
                if sys.stdout.isatty():
                    print(CLEAR, end="", file=unescaped(sys.stdout), flush=True)
                click.echo(picture)
                drawn = True
            except MinicharError:
                if not running:
                    raise
                say(f"waiting for the first evaluation in {folder}/; press Ctrl-C to stop")
        before = now
        if running:
            sleep(INTERVAL)
    say(f"no run is saving to {folder}/")


def picture_of(path: Path, name: str) -> str:
    """Return the plot of a run, followed by a sample of the model in its checkpoint."""
    curve = read_curve(path, name)
    sample = sample_line(load(path), curve.history[-1]["iteration"])
    return text_plot([curve], width(), HEIGHT) + one_line(f"sample: {sample}")


def plot_sweep(folders: tuple[Path, ...], output: Path | None) -> None:
    """Plot the trials of a sweep."""
    if len(folders) > 1:
        raise click.UsageError("a sweep cannot be plotted together with other runs")
    if output is None:
        raise click.UsageError("the plot of a sweep is a figure: add -o, for example -o sweep.svg")
    _, study = open_study(folders[0])
    if not results(study):
        raise MinicharError(f"{folders[0]}/ has no completed trials to plot")
    with saving(output) as save:
        save(slices(study))
    print_path(output)


def width() -> int:
    """Return the width of a text plot, in columns."""
    return min(shutil.get_terminal_size().columns, 100)
