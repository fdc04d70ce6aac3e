"""``minichar plot``."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from minichar.checkpoints.choosing import newest_of_runs, open_checkpoint
from minichar.cli.follow import follow
from minichar.cli.options import MODEL, OUTPUT, GroupedCommand, argument, print_path, storage
from minichar.errors import MinicharError, quoted
from minichar.pictures.curves import Curve, NotEvaluated, read_curve
from minichar.pictures.figure import FORMATS, save_figure
from minichar.pictures.search import Axis, save_search_figure, search_text
from minichar.pictures.terminal import MARKS, text_plot
from minichar.sweep.study import importance, is_sweep, open_study, results
from minichar.terminal import say


@click.command("plot", cls=GroupedCommand)
@argument(
    "checkpoints",
    "Checkpoints, directories of checkpoints, or the directory of a sweep. For a directory of checkpoints, "
    "the newest run that has been evaluated is plotted.  [default: cv]",
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
@storage
def command(checkpoints: tuple[Path, ...], output: Path | None, followed: bool, storage: str | None) -> None:
    """Plot loss versus epoch for one or more training runs, or the trials of a sweep.

    Shows the training loss and the validation loss, and marks the lowest validation loss. The learning
    rate and the teacher-forcing ratio are shown below the loss.

    For a sweep, shows the importance of each option, and a parallel-coordinate plot of the loss and the
    options of the completed trials. In a text plot, each trial is a letter, and "a" is the best
    one. In a figure, each trial is a line.

    For multiple runs, a table compares their losses, parameter counts and training times.

    Without -o, the plot is printed as text. With -o, it is saved as a figure, and the path is printed.
    """
    if figures := [path for path in checkpoints if path.suffix.lower() in FORMATS]:
        name = str(figures[0])
        raise click.UsageError(f"{name!r} is not a checkpoint: to save the plot, use -o {quoted(name)}")
    if len(checkpoints) > len(MARKS):
        raise click.UsageError(f"a plot can show at most {len(MARKS)} runs")
    if followed:
        folder, *others = checkpoints or (Path("cv"),)
        if others or output or folder.is_file() or is_sweep(folder):
            raise click.UsageError("--follow plots one run as text: specify only its directory")
        follow(folder, width())
        return
    if any(map(is_sweep, checkpoints)):
        plot_sweep(checkpoints, output, storage)
        return
    curves, errors = read_curves(checkpoints or (None,))
    if output is None:
        click.echo(text_plot(curves, width()), nl=False)
    else:
        save_figure(curves, output)
        print_path(output)
    for error in errors:
        say(f"left out: {error}")
    folder, *more = checkpoints or (Path("cv"),)
    if not (errors or more) and folder.is_dir() and (others := newest_of_runs(folder)[1:]):
        also = "another run" if len(others) == 1 else f"{len(others)} other runs"
        compare = f"minichar plot {quoted(folder)} {quoted(others[0])}"
        say(f"{folder}/ also contains {also}; to compare: {compare}")


def read_curves(checkpoints: Sequence[Path | None]) -> tuple[list[Curve], list[NotEvaluated]]:
    """Return the history of each run, and the errors of those that have not been evaluated.

    In a directory, the newest run that has been evaluated is used. If there is none at all, this raises
    `NotEvaluated`.
    """
    curves, errors = [], []
    for given in checkpoints:
        read = partial(read_curve, name=click.format_filename(given or "cv"))
        try:
            curves.append(open_checkpoint(given, read, newest=True)[1])
        except NotEvaluated as error:
            errors.append(error)
            folder = given or Path("cv")
            for path in newest_of_runs(folder)[1:] if folder.is_dir() else ():
                with suppress(NotEvaluated):
                    curves.append(read(path))
                    break
    if not curves:
        raise errors[0]
    return curves, errors


def plot_sweep(folders: tuple[Path, ...], output: Path | None, storage: str | None) -> None:
    """Plot the trials of a sweep."""
    if len(folders) > 1:
        raise click.UsageError("a sweep cannot be plotted together with other runs")
    plan, study = open_study(folders[0], storage=storage)
    trials = results(study)
    if not trials:
        raise MinicharError(f"{folders[0]}/ has no completed trials to plot")
    axes = [Axis("loss", [trial.loss for trial in trials])]
    for each in plan.space:
        scale = ("log" if each.log else "linear") if each.is_range else "choices"
        axes.append(Axis(each.title, [trial.values[each.name] for trial in trials], scale))
    titles = {each.name: each.title for each in plan.space}
    weights = {titles[name]: value for name, value in importance(study).items()}
    if output is None:
        numbers = [trial.number for trial in trials]
        click.echo(search_text(numbers, axes, weights, width()), nl=False)
    else:
        save_search_figure(axes, weights, output)
        print_path(output)


def width() -> int:
    """Return the width of a text plot, in columns."""
    return min(shutil.get_terminal_size().columns, 100)
