"""``minichar train``."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import click
from click.core import ParameterSource

from minichar.checkpoints.naming import find_checkpoint
from minichar.cli.options import CellName, GroupedCommand, device, group
from minichar.cli.report import Report
from minichar.devices.backend import Backend
from minichar.engine.config import GRU_RESETS
from minichar.training.scheduled_sampling import SS_FEEDS
from minichar.training.schedules import SS_SCHEDULES
from minichar.training.settings import DTYPES, SPLITS, Settings
from minichar.training.start import begin, begin_from, resume
from minichar.training.trainer import Trainer

DEFAULT = Settings()
PATIENCE = 0.5
"""Seconds in which a second Ctrl-C is the same nervous press, and does not keep the first from saving."""

text = group("Text")
model = group("Model")
learning = group("Learning")
ss = group("Scheduled sampling")
saving = group("Saving and going on")
showing = group("What is shown")


@click.command("train", cls=GroupedCommand)
@text(
    "--data", metavar="PATH", help="A folder with input.txt, or a text file.  [default: the built-in pydocs]"
)
@text(
    "--encoding", default=DEFAULT.encoding, help="How the file's bytes become characters: utf-8, gb18030, …"
)
@text(
    "--min-freq",
    default=DEFAULT.min_freq,
    metavar="N",
    help="Characters seen fewer than N times become one unknown id, which is never generated. "
    "Makes a Chinese vocabulary smaller and training faster. 0 keeps all.",
)
@text(
    "--split",
    default=DEFAULT.split,
    type=click.Choice(SPLITS),
    help="columns: validate on the last part of every stream (char-rnn). "
    "tail: on the end of the text, which is harder (torch-rnn, nanoGPT).",
)
@text("--train-frac", default=DEFAULT.train_frac, help="Share of the text to learn from.")
@text("--val-frac", default=DEFAULT.val_frac, help="Share to measure on; what is left is for testing.")
@model(
    "--model",
    default=DEFAULT.model,
    type=CellName(),
    help="The cell. lstm remembers longest, gru is nearly as good and faster, rnn is the simplest.",
)
@model(
    "--rnn-size",
    default=DEFAULT.rnn_size,
    metavar="H",
    help="Hidden units of a layer. More learns more, but twice as many take up to four times as long.",
)
@model(
    "--num-layers",
    default=DEFAULT.num_layers,
    metavar="L",
    help="Layers, one on the other. 2 or 3 are usual.",
)
@model(
    "--dropout",
    default=DEFAULT.dropout,
    metavar="P",
    help="Share of units silenced at random while learning. Try 0.25 to 0.5 when the model overfits.",
)
@model(
    "--gru-reset",
    default=DEFAULT.gru_reset,
    type=click.Choice(GRU_RESETS),
    help="Where a GRU's reset gate acts: after the product (PyTorch) or before it (char-rnn).",
)
@learning(
    "--seq-length",
    default=DEFAULT.seq_length,
    metavar="T",
    help="Characters the gradient looks back on. Longer can teach longer patterns.",
)
@learning(
    "--batch-size",
    default=DEFAULT.batch_size,
    metavar="B",
    help="Streams read side by side. More is faster a character, but makes fewer updates.",
)
@learning("--max-epochs", default=DEFAULT.max_epochs, metavar="N", help="How often the whole text is read.")
@learning(
    "--learning-rate",
    default=DEFAULT.learning_rate,
    help="Size of an update. Too large and the loss explodes, too small and nothing happens.",
)
@learning(
    "--learning-rate-decay",
    default=DEFAULT.learning_rate_decay,
    help="The rate is multiplied by this each epoch: smaller steps settle lower.",
)
@learning(
    "--learning-rate-decay-after",
    default=DEFAULT.learning_rate_decay_after,
    metavar="N",
    help="Epochs before that begins.",
)
@learning(
    "--decay-rate",
    default=DEFAULT.decay_rate,
    help="RMSprop's memory of past gradients, from 0 to 1: near 1 evens the steps out, lower follows faster.",
)
@learning(
    "--grad-clip",
    default=DEFAULT.grad_clip,
    help="Clip every element of the gradient (summed over T, averaged over B) to ±this. 0: off.",
)
@learning(
    "--clip-norm",
    default=DEFAULT.clip_norm,
    help="Shorten the gradient of the mean loss to this length. 0: off.",
)
@learning("--seed", default=DEFAULT.seed, help="Start of the random numbers: same seed, same run.")
@learning(
    "--dtype",
    default=DEFAULT.dtype,
    type=click.Choice(DTYPES),
    help="float64 is twice as slow and rarely better.",
)
@ss(
    "--use-ss/--no-use-ss",
    default=DEFAULT.use_ss,
    help="Now and then feed the model its own prediction, so that it learns to recover from its mistakes.",
)
@ss("--start-ss", default=DEFAULT.start_ss, help="Share of true characters in the first epoch.")
@ss(
    "--decay-ss", default=DEFAULT.decay_ss, help="How fast it falls: d in the schedules below, e epochs done."
)
@ss("--min-ss", default=DEFAULT.min_ss, help="The share never falls below this.")
@ss(
    "--ss-schedule",
    default=DEFAULT.ss_schedule,
    type=click.Choice(SS_SCHEDULES),
    help="linear: start - d·e; exponential: start·(1 - d)^e; "
    "inverse-sigmoid: start / (1 + d·exp(d·e)), flat first, then faster: try d = 0.2.",
)
@ss(
    "--ss-feed",
    default=DEFAULT.ss_feed,
    type=click.Choice(SS_FEEDS),
    help="The prediction fed: drawn from the model's distribution, or its likeliest character.",
)
@saving(
    "--init-from",
    metavar="CKPT",
    help="Begin with the weights of a checkpoint, or of the best in a folder, on this text. "
    "Its characters are matched one by one.",
)
@saving(
    "--resume",
    "checkpoint",
    metavar="CKPT",
    help="Go on with a run exactly where it was stopped, from its last checkpoint or the newest in a folder. "
    "It remembers its options; --max-epochs may grow.",
)
@saving("--checkpoint-dir", default=DEFAULT.checkpoint_dir, metavar="DIR", help="Where checkpoints go.")
@saving(
    "--savefile",
    default=DEFAULT.savefile,
    metavar="NAME",
    help="Checkpoints are called lm_NAME_epoch<epoch>_<validation loss>.npz.",
)
@saving(
    "--eval-val-every",
    default=DEFAULT.eval_val_every,
    metavar="N",
    help="Measure and save after every N chunks of B×T characters, and at the end.",
)
@saving(
    "--keep", default=DEFAULT.keep, metavar="N", help="Keep the N best checkpoints and the newest. 0: all."
)
@showing(
    "--print-every",
    default=100,
    metavar="N",
    type=click.IntRange(1),
    help="Without a progress bar, and in the log, a line every N chunks.",
)
@showing(
    "--sample-every",
    default=DEFAULT.sample_every,
    metavar="N",
    help="A line of generated text at every Nth measurement. 0: never.",
)
@showing("--log", metavar="FILE.jsonl", help="Add every loss to this file, a JSON object a line.")
@showing("--quiet", is_flag=True, show_default=False, help="No progress bar.")
@device
@click.argument("misplaced", nargs=-1, metavar="")
@click.pass_context
def command(
    ctx: click.Context,
    misplaced: tuple[str, ...],
    init_from: str | None,
    checkpoint: str | None,
    print_every: int,
    log: str | None,
    quiet: bool,
    device: Backend,
    **options: Any,
) -> None:
    """Learn a text, character by character.

    The loss is in nats per character: how surprised the model is, on average, by the next
    one. It starts near ln V, V being the number of different characters. Checkpoints go to
    cv/ with the validation loss in their names; Ctrl-C saves one before it leaves. The path
    of the best is printed on standard output at the end.
    """
    if misplaced:
        raise click.UsageError(f"a text is named with --data: minichar train --data {misplaced[0]}")
    given = {name for name in options if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    if checkpoint and init_from:
        raise click.UsageError("--resume goes on with a run and --init-from begins one: give one of them")
    if checkpoint:
        path = str(find_checkpoint(checkpoint, newest=True))
        run = resume(path, {name: options[name] for name in given}, device)
    elif init_from:
        run = begin_from(Settings(**options), str(find_checkpoint(init_from)), given, device)
    else:
        run = begin(Settings(**options), device)

    with Report(run, print_every, log, quiet) as report, stopping(run.trainer) as received:
        for event in run.trainer.run():
            report.show(event)
    report.finish()
    if received:
        ctx.exit(128 + received[0])


@contextmanager
def stopping(trainer: Trainer) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM stop the trainer, which saves; a second one, after `PATIENCE`, ends at once.

    Yields the list that the received signal is put in.
    """
    received: list[int] = []
    stopped_at: list[float] = []

    def stop(number: int, frame: object) -> None:
        if not received:
            received.append(number)
            trainer.stop()
            stopped_at.append(monotonic())
        elif monotonic() - stopped_at[0] >= PATIENCE:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
