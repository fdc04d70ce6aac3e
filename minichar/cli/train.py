"""``minichar train``."""

import filecmp
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from minichar.checkpoints.archive import TextFile
from minichar.checkpoints.choosing import checkpoints_in, open_checkpoint
from minichar.cli.options import (
    MODEL,
    PATH,
    GroupedCommand,
    Integer,
    announce_waits,
    chunk_kernel,
    devices,
    tf32,
)
from minichar.cli.ranks import all_ranks
from minichar.cli.report import Report
from minichar.cli.settings import STDIN, given_settings, output, saving, settings_options
from minichar.cli.stopping import stopping
from minichar.devices.backend import Backend
from minichar.errors import MinicharError, quoted
from minichar.files import writing
from minichar.formats.convert import check_resumable, load_model
from minichar.training.recipes import settings_from
from minichar.training.start import Run, begin, resume, with_mode_notes, with_yardstick
from minichar.training.team import Team

NEWEST = "--newest"
"""Value of ``--resume`` without a path. It starts with two hyphens so that it is not mistaken for a path."""


@click.command("train", cls=GroupedCommand)
@settings_options
@saving(
    "--init-from",
    metavar="MODEL",
    type=MODEL,
    help="Start from the weights of a model, or of the best checkpoint in a directory.",
)
@saving(
    "--resume",
    "checkpoint",
    metavar="[CHECKPOINT]",
    type=MODEL,
    is_flag=False,
    flag_value=NEWEST,
    help="Resume a checkpoint or the newest in a directory. To train longer, add --max-time or --max-epochs.",
)
@output(
    "--print-every",
    rare=True,
    default=100,
    metavar="N",
    type=Integer(1),
    help="Log the loss every N chunks, and print it if there is no progress bar.",
)
@output(
    "--log",
    metavar="FILE.jsonl",
    type=PATH,
    rare=True,
    help="Append the losses to this file in JSON Lines format.",
)
@output(
    "--yardstick/--no-yardstick",
    rare=True,
    default=True,
    help="Measure the loss of n-gram models of the same text first, which takes about 13 s and 300 MB "
    "for texts of 5 million characters or more.",
)
@output("--quiet", is_flag=True, help="Hide the progress bar, and the lines that replace it in a file.")
@devices
@tf32
@chunk_kernel
@click.pass_context
def command(
    ctx: click.Context,
    /,
    texts: tuple[Path, ...],
    init_from: Path | None,
    checkpoint: Path | None,
    print_every: int,
    log: Path | None,
    yardstick: bool,
    quiet: bool,
    devices: tuple[Backend, ...],
    tf32: bool,
    chunk_kernel: bool,
    **options: Any,
) -> None:
    """Train a model on text, character by character.

    The loss is the cross-entropy in nats per character. The loss of an untrained model is close
    to ln V, where V is the number of distinct characters. A progress line shows the training loss
    of one chunk, and an evaluation shows the mean since the previous one. By default, checkpoints
    are saved to cv/ with the validation loss in their names. Ctrl-C saves a checkpoint and exits.
    If the output is not a terminal, the path of the best checkpoint is printed to standard output.
    Everything else goes to standard error.

    For an option set to auto, minichar chooses a value that suits the text and the time.
    """
    given = given_settings(ctx, texts, options)
    if checkpoint and init_from:
        raise click.UsageError("--resume and --init-from are mutually exclusive")
    for device in devices:
        device.uses_chunk_kernel = chunk_kernel
    folder = options["checkpoint_dir"]
    with all_ranks() as team:
        if team.size > 1 and len(devices) > 1:
            devices = devices[:1]  # all ranks would use the same GPU
            if team.rank == 0 and not quiet:
                click.echo("device auto: cpu for multiple processes; to use GPUs, add --device gpu", err=True)
        if team.rank == 0:
            announce_waits(*devices)
        # Only rank 0 looks for files, because ranks may see different files on a network file system.
        if checkpoint:
            if str(checkpoint) == NEWEST:
                checkpoint = folder
            folder = team.lead(partial(folder_of_run, checkpoint, folder, "checkpoint_dir" in given))
        run = start(checkpoint, init_from, given, folder, devices, team, ctx.obj)
        run = with_mode_notes(run, tf32, chunk_kernel)
        if yardstick:
            run = with_yardstick(run, team, ctx.obj)
        report = Report(run, print_every, log, quiet, not init_from) if team.rank == 0 else None
        train(ctx, run, report, team)


def start(
    checkpoint: Path | None,
    init_from: Path | None,
    given: dict[str, Any],
    folder: Path,
    devices: tuple[Backend, ...],
    team: Team,
    started: float,
) -> Run:
    """Start or resume the run. Standard input is saved in `folder`, and deleted if the run cannot start."""
    with ExitStack() as undo:
        stdin = given.get("data") == (STDIN,)
        if stdin and team.lead(lambda: checkpoint is None or checkpoint.exists()):
            given["data"] = (team.lead(lambda: save_stdin(folder, undo)),)
        if checkpoint:
            try:
                run = resume(checkpoint, given, *devices, team=team, started=started)
            except TextFile as error:
                train = f"minichar train {quoted(checkpoint)} --resume"
                raise MinicharError(*error.args, f", or use `{train}` to resume on this text") from error
        else:
            model = None
            if init_from:
                path = team.lead(lambda: open_checkpoint(init_from, load_model)[0])
                model = load_model(path, devices[0])
            run = begin(settings_from(given), *devices, model=model, given=given, team=team, started=started)
        undo.pop_all()
        return run


def train(ctx: click.Context, run: Run, report: Report | None, team: Team) -> None:
    """Train, report the events, and exit with a status that tells the signal if one stopped the run."""
    events = run.trainer.run(started=ctx.obj)  # checks the directory before the report introduces the run
    say = report.bar.say_at_once if report else lambda line: None
    with stopping(run.trainer, say) as received:
        with report or nullcontext():
            for event in events:
                if report:
                    report.show(event)
        try:
            # At exit, the other ranks would busy-wait for rank 0.
            team.lead(lambda: report.finish() if report else None)
        finally:
            if received:
                ctx.exit(128 + received[0])


def folder_of_run(checkpoint: Path, folder: Path, given: bool) -> Path:
    """Return the directory of the run to resume: `folder` if given, else the directory of the checkpoint."""
    check_resumable(checkpoint)
    if checkpoint.is_dir() or checkpoint == folder:
        checkpoints_in(checkpoint)  # raises if there is no checkpoint
    if given:
        return folder
    return checkpoint if checkpoint.is_dir() else checkpoint.parent


def save_stdin(directory: Path, undo: ExitStack) -> Path:
    """Save standard input as ``directory/input.txt``, so that other commands can read the text.

    Closing `undo` deletes all new files and directories, so that a corrected text can be piped to the same
    command.
    """
    if sys.stdin.isatty():
        click.echo("reading the text from standard input; press Ctrl-D to finish", err=True)
    path = directory / "input.txt"
    undo.callback(delete, [each for each in path.parents if not each.exists()])
    with writing(path) as file:  # an existing file is replaced only if the block succeeds
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        if not file.tell():
            raise MinicharError("standard input is empty: pipe the text into the command")
        if path.exists() and not filecmp.cmp(path, file.name, shallow=False):
            raise MinicharError(f"{path} contains a different text: move it, or choose another directory")
        files = [] if os.path.lexists(path) else [path]
    undo.callback(delete, files)  # callbacks run in reverse order: files first
    return path


def delete(paths: Iterable[Path]) -> None:
    """Delete files and empty directories, if possible."""
    for path in paths:
        with suppress(OSError):
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
