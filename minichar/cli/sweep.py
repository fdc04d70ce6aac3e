"""``minichar sweep``."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from minichar.cli.options import (
    PATH,
    GroupedCommand,
    Integer,
    Time,
    announce_waits,
    devices,
    group,
    print_path,
)
from minichar.cli.planned import train_command
from minichar.cli.settings import STDIN, given_settings, output, settings_options
from minichar.cli.stopping import stopping
from minichar.cli.sweep_report import SweepReport
from minichar.cli.train import save_stdin
from minichar.devices.backend import Backend
from minichar.sweep.space import check_space, parse
from minichar.sweep.study import Plan, is_sweep, read_plan, results
from minichar.sweep.trials import Sweep

OMITTED = ("checkpoint_dir", "max_time", "title")
"""Options of ``minichar train`` that ``minichar sweep`` does not have or defines differently."""
DEFAULT_DIR = Path("sweep")
BEST_DIR = Path("cv-best")
"""Checkpoint directory in the command that retrains the best model."""

searching = group("Search")


@click.command("sweep", cls=GroupedCommand)
@searching(
    "--search",
    metavar="OPTION=VALUES",
    multiple=True,
    help="Option of `minichar train` to search over, and its values: a range (dropout=0..0.5), a range on a "
    "logarithmic scale (learning_rate=1e-3..2e-2:log) or a list (rnn_size=64,128). Can be repeated.",
)
@searching(
    "--trials",
    default=20,
    metavar="N",
    type=Integer(1),
    help="Total number of trials in the sweep, including those of other processes and earlier runs.",
)
@searching(
    "--max-time",
    "minutes",
    type=Time("m"),
    default=0.0,
    metavar="TIME",
    help="Stop the sweep after this time, such as 90s or 1h30m; a plain number is in minutes. The next run "
    "continues the unfinished trial. 0: no limit.",
)
@searching(
    "--sweep-dir",
    default=DEFAULT_DIR,
    metavar="DIR",
    type=PATH,
    help="Directory for the trials. All processes with the same directory work on the same sweep.",
)
@settings_options
@output("--quiet", is_flag=True, help="Hide the progress bar.")
@devices
@click.pass_context
def command(
    ctx: click.Context,
    /,
    texts: tuple[Path, ...],
    search: tuple[str, ...],
    trials: int,
    minutes: float,
    sweep_dir: Path,
    quiet: bool,
    devices: tuple[Backend, ...],
    **options: Any,
) -> None:
    """Search for the training options that give the lowest validation loss.

    Trains one model per trial, in its own directory. Optuna chooses the values of the options in --search;
    if every option has a list of values, each combination is tried once instead. All other options of
    `minichar train` are the same in every trial. A trial is stopped early if its validation loss is above the
    median of earlier trials at the same point in the run.

    To use more cores or machines, run the same command several times in parallel. If a process is killed or
    stopped with Ctrl-C, the next process to start a trial resumes the interrupted trial from its last
    checkpoint. To continue a sweep, run the command again. The search space and the training options are
    stored in --sweep-dir, so you can omit them.

    A command that retrains the best model is printed to standard output, everything else to standard error.
    """
    given = given_settings(ctx, texts, options)
    searched = [str(parse(text)) for text in search]
    if not searched and not is_sweep(sweep_dir):
        raise click.UsageError("nothing to search over: try --search learning_rate=1e-3..2e-2:log")
    dimensions = searched or read_plan(sweep_dir).search
    announce_waits(*devices)
    with ExitStack() as undo:
        if given.get("data") == (STDIN,):
            check_space([parse(text) for text in dimensions], given)  # before the text is saved
            given["data"] = save_stdin(sweep_dir, undo)
        plan = Plan(given, dimensions) if searched or given else None
        sweep = Sweep(sweep_dir, plan, devices)
        undo.pop_all()  # the sweep can start, so keep the text
    report = SweepReport(sweep, trials, quiet)
    with stopping(sweep, report.say_at_once) as received:
        with report:
            for event in sweep.run(trials, minutes):
                report.show(event)
        report.finish()
        if ranked := results(sweep.study):
            options = {**sweep.plan.given, **ranked[0].values, "checkpoint_dir": BEST_DIR}
            print_path(train_command(options))
        if received:
            ctx.exit(128 + received[0])
    if not (ranked or sweep.stopping or sweep.running()):  # other processes may be running trials
        ctx.exit(1)


command.params = [parameter for parameter in command.params if parameter.name not in OMITTED]
