"""``minichar plot``."""

import shutil
from pathlib import Path

import click

from minichar.checkpoints.naming import find_checkpoint
from minichar.pictures.curves import read_curve
from minichar.pictures.figure import save_figure
from minichar.pictures.terminal import MARKS, text_plot


@click.command("plot")
@click.argument("checkpoints", nargs=-1, metavar="[CKPT]...")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Draw an .svg or a .png with Matplotlib (pip install 'minichar[plot]').  [default: text]",
)
def command(checkpoints: tuple[str, ...], output: Path | None) -> None:
    """Draw the loss of one or more runs over their epochs.

    Each CKPT is a checkpoint of training, or a folder, whose newest checkpoint holds the longest
    history; without any, the folder is cv/. Below the training and the validation loss, whose
    best is marked, stand the learning rate and the share of true input.

    Without -o the plot is made of letters, on standard output. With it, the path is printed.
    """
    if len(checkpoints) > len(MARKS):
        raise click.UsageError(f"at most {len(MARKS)} runs can be told apart in one plot")
    curves = [
        read_curve(find_checkpoint(given, newest=True), given or "cv") for given in checkpoints or (None,)
    ]
    if output is None:
        click.echo(text_plot(curves, min(shutil.get_terminal_size().columns, 100)), nl=False)
    else:
        save_figure(curves, output)
        click.echo(output)
