"""``minichar train``."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from minichar.checkpoints.naming import newest_first, open_checkpoint
from minichar.cli.options import PATH, CellName, GroupedCommand, Integer, OneOf, device, group
from minichar.cli.report import Report
from minichar.cli.stopping import stopping
from minichar.devices.backend import Backend
from minichar.engine.config import GRU_RESETS
from minichar.formats.convert import load_model
from minichar.training.scheduled_sampling import SS_FEEDS
from minichar.training.schedules import SS_SCHEDULES
from minichar.training.settings import DTYPES, SPLITS, Settings
from minichar.training.start import begin, begin_from, resume

DEFAULT = Settings()
NEWEST = "--newest"
"""Value of ``--resume`` without a path. It starts with two hyphens so that it is not mistaken for a path."""

text = group("Text")
model = group("Model")
training = group("Training")
ss = group("Scheduled sampling")
saving = group("Checkpoints")
output = group("Output")


@click.command("train", cls=GroupedCommand, context_settings={"allow_extra_args": True})
@text(
    "--data",
    metavar="PATH",
    type=PATH,
    help="A text file, or a directory containing input.txt.  [default: the built-in text, pydocs]",
)
@text("--encoding", default=DEFAULT.encoding, help="Text encoding, such as utf-8 or gb18030.")
@text(
    "--min-freq",
    default=DEFAULT.min_freq,
    metavar="N",
    help="Replace characters that occur fewer than N times with the unknown token, which is never generated. "
    "For Chinese, this reduces the vocabulary size and speeds up training. 0: keep all characters.",
)
@text(
    "--split",
    default=DEFAULT.split,
    type=OneOf(SPLITS),
    help="columns: validate on the end of every stream, as in char-rnn. "
    "tail: validate on the end of the text, as in torch-rnn and nanoGPT. Validating on the tail is harder.",
)
@text("--train-frac", default=DEFAULT.train_frac, help="Fraction of the text used for training.")
@text(
    "--val-frac",
    default=DEFAULT.val_frac,
    help="Fraction of the text used for validation. The rest is used for testing.",
)
@model(
    "--model",
    default=DEFAULT.model,
    type=CellName(),
    help="Cell type. lstm has the longest memory; gru is almost as good and faster; rnn is the simplest.",
)
@model(
    "--rnn-size",
    default=DEFAULT.rnn_size,
    metavar="H",
    help="Number of hidden units per layer. Doubling it increases capacity but can quadruple training time.",
)
@model(
    "--num-layers",
    default=DEFAULT.num_layers,
    metavar="L",
    help="Number of stacked layers, usually 2 or 3.",
)
@model(
    "--dropout",
    default=DEFAULT.dropout,
    metavar="P",
    help="Dropout probability during training. Try 0.25 to 0.5 if the model overfits.",
)
@model(
    "--gru-reset",
    default=DEFAULT.gru_reset,
    type=OneOf(GRU_RESETS),
    help="Apply a GRU's reset gate after the matrix product (PyTorch) or before it (char-rnn).",
)
@training(
    "--seq-length",
    default=DEFAULT.seq_length,
    metavar="T",
    help="Time steps per chunk in truncated backpropagation. Longer chunks help capture longer dependencies.",
)
@training(
    "--batch-size",
    default=DEFAULT.batch_size,
    metavar="B",
    help="Sequences per batch. Larger batches are faster per character but make fewer updates.",
)
@training(
    "--max-epochs", default=DEFAULT.max_epochs, metavar="N", help="Number of passes over the training text."
)
@training(
    "--learning-rate",
    default=DEFAULT.learning_rate,
    help="Step size. If it is too large, the loss diverges; if it is too small, training is slow.",
)
@training(
    "--learning-rate-decay",
    default=DEFAULT.learning_rate_decay,
    help="Factor applied to the learning rate after each epoch.",
)
@training(
    "--learning-rate-decay-after",
    default=DEFAULT.learning_rate_decay_after,
    metavar="N",
    help="Number of epochs before the learning rate starts to decay.",
)
@training(
    "--decay-rate",
    default=DEFAULT.decay_rate,
    help="Decay rate of RMSprop's running mean square, from 0 to 1. Larger values average over more steps.",
)
@training(
    "--grad-clip",
    default=DEFAULT.grad_clip,
    help="Clip each element of the gradient (summed over T, averaged over B) to ± this value. 0: off.",
)
@training(
    "--clip-norm",
    default=DEFAULT.clip_norm,
    help="Clip the norm of the gradient of the mean loss to this value. 0: off.",
)
@training("--seed", default=DEFAULT.seed, help="Random seed. Runs with the same seed are identical.")
@training(
    "--dtype",
    default=DEFAULT.dtype,
    type=OneOf(DTYPES),
    help="Data type of the weights. float64 is half as fast and rarely gives better results.",
)
@ss(
    "--use-ss/--no-use-ss",
    default=DEFAULT.use_ss,
    help="Sometimes feed the model its own predictions, so that it learns to recover from mistakes.",
)
@ss("--start-ss", default=DEFAULT.start_ss, help="Teacher-forcing ratio in the first epoch.")
@ss("--decay-ss", default=DEFAULT.decay_ss, help="Decay of the ratio per epoch (d in --ss-schedule).")
@ss("--min-ss", default=DEFAULT.min_ss, help="Minimum teacher-forcing ratio.")
@ss(
    "--ss-schedule",
    default=DEFAULT.ss_schedule,
    type=OneOf(SS_SCHEDULES),
    help="Teacher-forcing ratio after e epochs. linear: start - d·e; exponential: start·(1 - d)^e; "
    "inverse-sigmoid: start / (1 + d·exp(d·e)), which decreases slowly at first (try d = 0.2).",
)
@ss(
    "--ss-feed",
    default=DEFAULT.ss_feed,
    type=OneOf(SS_FEEDS),
    help="Sample the prediction from the model's distribution, or use the most likely character.",
)
@saving(
    "--init-from",
    metavar="MODEL",
    type=PATH,
    help="Start from the weights of a model (.npz, .safetensors or .pt), or of the best checkpoint in a "
    "directory. Weights are matched by character, so the new text may contain different characters.",
)
@saving(
    "--resume",
    "checkpoint",
    metavar="[CHECKPOINT]",
    type=PATH,
    is_flag=False,
    flag_value=NEWEST,
    help="Resume a run exactly where it stopped, from a checkpoint or from the newest one in a directory "
    "(by default, --checkpoint-dir). The original options are kept, but --max-epochs can be increased.",
)
@saving(
    "--checkpoint-dir",
    default=DEFAULT.checkpoint_dir,
    metavar="DIR",
    type=PATH,
    help="Directory for checkpoints.",
)
@saving(
    "--savefile",
    default=DEFAULT.savefile,
    metavar="NAME",
    show_default=False,
    help="Checkpoints are named lm_NAME_epoch<epoch>_<validation loss>.npz.  [default: the value of --model]",
)
@saving(
    "--eval-val-every",
    default=DEFAULT.eval_val_every,
    metavar="N",
    help="Evaluate and save a checkpoint every N chunks of B×T characters, and at the end of the run.",
)
@saving(
    "--checkpoint-every",
    default=DEFAULT.checkpoint_every,
    metavar="SECONDS",
    help="Save or replace lm_NAME_latest.npz if no checkpoint has been saved for this long, so that little "
    "progress is lost if the process is killed. 0: never.",
)
@saving(
    "--keep",
    default=DEFAULT.keep,
    metavar="N",
    help="Keep the N best checkpoints and the newest one. 0: keep all.",
)
@output(
    "--print-every",
    default=100,
    metavar="N",
    type=Integer(1),
    help="Log the loss every N chunks, and print it if there is no progress bar.",
)
@output(
    "--sample-every",
    default=DEFAULT.sample_every,
    metavar="N",
    help="Print a line of generated text every N evaluations. 0: never.",
)
@output("--log", metavar="FILE.jsonl", type=PATH, help="Append the losses to this file in JSON Lines format.")
@output("--quiet", is_flag=True, show_default=False, help="Hide the progress bar.")
@device
@click.pass_context
def command(
    ctx: click.Context,
    /,
    init_from: Path | None,
    checkpoint: Path | None,
    print_every: int,
    log: Path | None,
    quiet: bool,
    device: Backend,
    **options: Any,
) -> None:
    """Train a model on text, character by character.

    The loss is the cross-entropy in nats per character. For an untrained model, it is close to ln V,
    where V is the number of distinct characters. Checkpoints are saved to cv/ with the validation
    loss in their names. Ctrl-C saves a checkpoint and exits. Prints the path of the best checkpoint
    to standard output and everything else to standard error.
    """
    if ctx.args:
        raise click.UsageError(
            f"unexpected argument {ctx.args[0]!r}: use `minichar train --data {ctx.args[0]}`"
        )
    given = [name for name in options if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if checkpoint and init_from:
        raise click.UsageError("--resume and --init-from are mutually exclusive")
    if checkpoint:
        if str(checkpoint) == NEWEST:
            newest_first(checkpoint := options["checkpoint_dir"])  # raises if there is no checkpoint
        run = resume(checkpoint, {name: options[name] for name in given}, device)
    elif init_from:
        _, model = open_checkpoint(init_from, lambda path: load_model(path, device))
        run = begin_from(Settings(**options), model, given)
    else:
        run = begin(Settings(**options), device)

    with Report(run, print_every, log, quiet) as report, stopping(run.trainer) as received:
        for event in run.trainer.run():
            report.show(event)
    try:
        report.finish()
    finally:
        if received:
            ctx.exit(128 + received[0])
