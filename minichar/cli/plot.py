"""``minichar plot``."""

import shutil
from functools import partial
from pathlib import Path

import click

from minichar.checkpoints.naming import open_checkpoint
from minichar.cli.options import MODEL, OUTPUT, GroupedCommand, argument, print_path
from minichar.pictures.curves import read_curve
from minichar.pictures.figure import save_figure
from minichar.pictures.terminal import MARKS, text_plot


@click.command("plot", cls=GroupedCommand)
@argument(
    "checkpoints",
    "Checkpoints or directories. For a directory, the newest checkpoint is used, since it has the longest "
    "history.  [default: cv]",
    nargs=-1,
    metavar="[CHECKPOINT]...",
    type=MODEL,
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OUTPUT,
    help="Save the plot as an .svg or .png file (requires Matplotlib: `pip install matplotlib`).  "
    "[default: print as text]",
)
def command(checkpoints: tuple[Path, ...], output: Path | None) -> None:
    """Plot loss versus epoch for one or more training runs.

    Shows the training loss and the validation loss, and marks the lowest validation loss. The learning
    rate and the teacher-forcing ratio are shown below.

    Without -o, the plot is printed as text. With -o, the path of the figure is printed.
    """
    if len(checkpoints) > len(MARKS):
        raise click.UsageError(f"a plot can show at most {len(MARKS)} runs")
    curves = [
        open_checkpoint(given, partial(read_curve, name=click.format_filename(given or "cv")), newest=True)[1]
        for given in checkpoints or (None,)
    ]
    if output is None:
        click.echo(text_plot(curves, min(shutil.get_terminal_size().columns, 100)), nl=False)
    else:
        save_figure(curves, output)
        print_path(output)
