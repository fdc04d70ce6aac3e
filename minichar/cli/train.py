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
from minichar.cli.planned import train_command
from minichar.cli.ranks import all_ranks
from minichar.cli.report import Report
from minichar.cli.settings import output, saving, settings_options
from minichar.cli.stopping import stopping
from minichar.cli.usage import given_by_user, reject_typographic_dashes
from minichar.devices.backend import Backend
from minichar.errors import MinicharError, undashed
from minichar.files import writing
from minichar.formats.convert import check_resumable, load_model
from minichar.training.recipes import settings_from
from minichar.training.start import begin, resume, with_mode_notes, with_yardstick

STDIN = Path("-")
NEWEST = "--newest"
"""Value of ``--resume`` without a path. It starts with two hyphens so that it is not mistaken for a path."""


@click.command("train", cls=GroupedCommand, context_settings={"allow_extra_args": True})
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
    explicit = {name: options[name] for name in given_by_user(ctx, options)}
    if ctx.args:
        reject_typographic_dashes(ctx, ctx.args)
        text = PATH.convert(ctx.args[0], None, ctx)  # rejects URLs
        advice = "to train on multiple files, put them in a directory and specify it with --data"
        if options["data"] is None and len(ctx.args) == 1:
            data = text if text == STDIN else undashed(text)
            advice = f"use `{train_command({'data': data} | explicit)}`"
        raise click.UsageError(f"unexpected argument {ctx.args[0]!r}: {advice}")
    if checkpoint and init_from:
        raise click.UsageError("--resume and --init-from are mutually exclusive")
    for device in devices:
        device.uses_chunk_kernel = chunk_kernel
    with all_ranks() as team, ExitStack() as undo:
        if team.size > 1 and len(devices) > 1:
            devices = devices[:1]  # all ranks would use the same GPU
            if team.rank == 0 and not quiet:
                click.echo("device auto: cpu for multiple processes; to use GPUs, add --device gpu", err=True)
        if team.rank == 0:
            announce_waits(*devices)
        folder = options["checkpoint_dir"]
        # Only rank 0 looks for files, because ranks may see different files on a network file system.
        if checkpoint:
            if str(checkpoint) == NEWEST:
                checkpoint = folder
            folder = team.lead(partial(folder_of_run, checkpoint, folder, "checkpoint_dir" in explicit))
        if options["data"] == STDIN and team.lead(lambda: checkpoint is None or checkpoint.exists()):
            explicit["data"] = team.lead(lambda: save_stdin(folder, undo))
        if checkpoint:
            run = resume(checkpoint, explicit, *devices, team=team, started=ctx.obj)
        else:
            model = None
            if init_from:
                path = team.lead(lambda: open_checkpoint(init_from, load_model)[0])
                model = load_model(path, devices[0])
            settings = settings_from(explicit)
            run = begin(settings, *devices, model=model, given=explicit, team=team, started=ctx.obj)
        undo.pop_all()  # the run can start, so keep the text
        run = with_mode_notes(run, tf32, chunk_kernel)
        if yardstick:
            run = with_yardstick(run, team, ctx.obj)

        report: Report | None = None
        if team.rank == 0:
            report = Report(run, print_every, log, quiet, not init_from)
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
