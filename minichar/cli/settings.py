"""The options of ``minichar train`` that correspond to the fields of `Settings`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minichar.cli.options import PATH, CellName, Escaped, Minutes, OneOf, group
from minichar.cli.saving import SAVING
from minichar.engine.config import GRU_RESETS
from minichar.engine.registry import AUTO
from minichar.text import sizes
from minichar.training.recipes import RECIPES, table
from minichar.training.scheduled_sampling import SS_FEEDS
from minichar.training.schedules import SS_SCHEDULES
from minichar.training.settings import AUTOMATIC, DTYPES, SPLITS, Settings

DEFAULT = Settings()
SHORT_TEXTS = f"texts of up to {sizes.SHORT:,} characters"
LIST = "list"
"""Value of ``--recipe`` that prints the recipes."""

recipe = group("Recipe")
text = group("Text")
model = group("Model")
training = group("Training")
ss = group("Scheduled sampling")


def list_recipes(ctx: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Return the name of the recipe. For ``list``, print all recipes and exit."""
    if name == LIST:
        click.echo("\n".join(table()))
        ctx.exit()
    return name


def only_one(ctx: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]) -> Path | None:
    """Return the training text, if specified. Specifying a second one is an error."""
    if len(paths) > 1:
        raise click.UsageError("--data can be used only once: to train on several files, use a directory")
    return paths[0] if paths else None


OPTIONS = (
    recipe(
        "--recipe",
        default=DEFAULT.recipe,
        type=OneOf([*RECIPES, LIST]),
        is_eager=True,
        callback=list_recipes,
        help="Use a named set of options. Options that you specify override those of the recipe. The "
        "defaults below are those of the quick recipe. list: show all recipes.",
    ),
    text(
        "--data",
        metavar="PATH",
        type=PATH,
        multiple=True,
        callback=only_one,
        help="A text file, a directory containing input.txt or other .txt files (joined in name order), or - "
        "for standard input (saved as input.txt with the checkpoints).  "
        "[default: Python's bundled help text]",
    ),
    text("--encoding", default=DEFAULT.encoding, help="Text encoding, such as utf-8 or gb18030."),
    text(
        "--min-freq",
        default=DEFAULT.min_freq,
        metavar="N",
        help="Replace characters that occur fewer than N times with the unknown token, which is never "
        "generated. For Chinese, this reduces the vocabulary size and speeds up training. 0: keep all "
        "characters.",
    ),
    text(
        "--reset-on",
        default=DEFAULT.reset_on,
        type=Escaped(),
        metavar="STR",
        show_default=False,
        help=r"Reset the state to zero at each occurrence of this string, so that the poems, names or "
        r"messages it separates are independent. Use \n for a newline, \t for a tab and \\ for a "
        "backslash.  [default: never]",
    ),
    text(
        "--split",
        default=DEFAULT.split,
        type=OneOf(SPLITS),
        help="columns: validate on the end of every stream, as in char-rnn. "
        "tail: validate on the end of the text, as in torch-rnn and nanoGPT. The tail is "
        "harder to predict.",
    ),
    text("--train-frac", default=DEFAULT.train_frac, help="Fraction of the text used for training."),
    text(
        "--val-frac",
        default=DEFAULT.val_frac,
        help="Fraction of the text used for validation. The remaining text is used for testing.",
    ),
    model(
        "--model",
        default=DEFAULT.model,
        type=CellName(AUTO),
        help="Cell type. lstm has the longest memory; gru is almost as good and faster; rnn is the simplest. "
        f"{AUTO}: gru with --layer-norm for {SHORT_TEXTS}, more than {sizes.LARGE_V} of them "
        "distinct, unless --no-layer-norm is specified; otherwise lstm.",
    ),
    model(
        "--rnn-size",
        default=DEFAULT.rnn_size,
        metavar="H",
        help="Hidden units per layer. Doubling it increases capacity but can quadruple training time. "
        f"{AUTOMATIC}: with dropout on {SHORT_TEXTS}, {sizes.LARGE_H}, or {sizes.RARE_H} if more than "
        f"{sizes.LARGE_V} of them are distinct; otherwise {sizes.SMALL_H}.",
    ),
    model(
        "--num-layers",
        default=DEFAULT.num_layers,
        metavar="L",
        help="Number of stacked layers, usually 2 or 3.",
    ),
    model(
        "--dropout",
        default=DEFAULT.dropout,
        metavar="P",
        help="Dropout probability during training. Try 0.25 to 0.5 if the model overfits. "
        f"{AUTOMATIC}: {sizes.DROPOUT:g} for {SHORT_TEXTS}, otherwise 0.",
    ),
    model(
        "--weight-drop",
        default=DEFAULT.weight_drop,
        metavar="P",
        help="DropConnect probability for the recurrent weights. Try 0.1 to 0.3 if the model overfits.",
    ),
    model(
        "--gru-reset",
        default=DEFAULT.gru_reset,
        type=OneOf(GRU_RESETS),
        help="Apply a GRU's reset gate after the matrix product (PyTorch) or before it (char-rnn).",
    ),
    model(
        "--embedding",
        default=DEFAULT.embedding,
        metavar="D",
        help="Represent each character by a learned vector of size D instead of a one-hot vector. This "
        "makes the model smaller if the vocabulary is large, as in Chinese. 0: one-hot vectors. "
        f"{AUTOMATIC}: H with --tied, {sizes.D} if the text has more than {sizes.LARGE_V} distinct "
        "characters, otherwise 0.",
    ),
    model(
        "--tied/--no-tied",
        default=DEFAULT.tied,
        show_default=False,
        help="Use the readout's weights as the embedding. This helps on short texts.  "
        f"[default: on for {SHORT_TEXTS}, unless --embedding is specified]",
    ),
    model(
        "--layer-norm/--no-layer-norm",
        default=DEFAULT.layer_norm,
        show_default=False,
        help="Normalise the pre-activations of each gate. Epochs take longer, but fewer are needed.  "
        "[default: only for the gru chosen by --model auto]",
    ),
    training(
        "--seq-length",
        default=DEFAULT.seq_length,
        metavar="T",
        help="Time steps per chunk in truncated backpropagation. Longer chunks help capture longer "
        "dependencies. 0: about 50, chosen so that little text is left out.",
    ),
    training(
        "--batch-size",
        default=DEFAULT.batch_size,
        metavar="B",
        help="Sequences per batch. Larger batches are faster per character but make fewer updates. "
        "0: 50, or fewer for short texts.",
    ),
    training(
        "--max-epochs",
        default=DEFAULT.max_epochs,
        metavar="N",
        help="Number of passes over the training text; fractions are allowed. "
        f"0: {sizes.STEPS:,} training steps, or {sizes.SHORT_STEPS:,} for {SHORT_TEXTS}.",
    ),
    training(
        "--max-time",
        default=DEFAULT.max_time,
        type=Minutes(),
        help="End the run this many minutes after the start of the command, including the last evaluation. "
        "0: no limit.",
    ),
    training(
        "--patience",
        default=DEFAULT.patience,
        metavar="N",
        help="End the run if the validation loss has not improved for N evaluations after the warm-up. "
        f"0: no limit. {AUTOMATIC}: {sizes.PATIENCE} for texts of up to {sizes.MANY:,} characters, "
        "otherwise 0.",
    ),
    training(
        "--epoch-reset/--no-epoch-reset",
        default=DEFAULT.epoch_reset,
        help="Start each epoch from a zero state or, as in char-rnn, from the state at the end of the "
        "previous epoch.",
    ),
    training(
        "--learning-rate",
        default=DEFAULT.learning_rate,
        help="Step size. If it is too large, the loss diverges; if it is too small, training is slow. "
        f"{AUTOMATIC}: {sizes.RATES['lstm']:g} for LSTMs and {sizes.RATES['rnn']:g} for RNNs with up to 2 "
        f"layers of {sizes.LARGE_H} units and no layer normalisation, if they are trained from scratch on "
        f"more than {sizes.SHORT:,} characters with a batch size of at least {sizes.LARGEST_B}; otherwise "
        f"{sizes.RATE:g}.",
    ),
    training(
        "--warmup",
        default=DEFAULT.warmup,
        metavar="FRACTION",
        help="Fraction of the run over which the learning rate rises from zero to its full value. "
        f"{AUTOMATIC}: 0 for an LSTM or GRU trained from scratch on up to {sizes.SHORT:,} characters, "
        f"otherwise {sizes.WARMUP:g}.",
    ),
    training(
        "--learning-rate-decay",
        default=DEFAULT.learning_rate_decay,
        help="Factor applied to the learning rate after each epoch, starting at the end of epoch "
        "--learning-rate-decay-after. 1: no decay.",
    ),
    training(
        "--learning-rate-decay-after",
        default=DEFAULT.learning_rate_decay_after,
        metavar="N",
        help="Number of epochs before the learning rate starts to decay.",
    ),
    training(
        "--decay-rate",
        default=DEFAULT.decay_rate,
        help="Decay rate of RMSprop's running mean square, from 0 to 1. Larger values average over more "
        "steps.",
    ),
    training(
        "--weight-decay",
        default=DEFAULT.weight_decay,
        metavar="LAMBDA",
        help="Multiply the weights by 1 - LAMBDA × learning rate at each step, which reduces overfitting. "
        f"{AUTOMATIC}: if trained from scratch on {SHORT_TEXTS}, {sizes.WEIGHT_DECAY:g}, or "
        f"{sizes.RARE_WEIGHT_DECAY:g} if more than {sizes.LARGE_V} of them are distinct; otherwise 0.",
    ),
    training(
        "--ema",
        default=DEFAULT.ema,
        metavar="DECAY",
        help="Average the weights over about 1 / (1 - DECAY) steps, and use the average as the model in "
        "evaluations and checkpoints. 0: off.",
    ),
    training(
        "--grad-clip",
        default=DEFAULT.grad_clip,
        help="Clip each element of the gradient (summed over T, averaged over B) to ± this value. 0: off.",
    ),
    training(
        "--clip-norm",
        default=DEFAULT.clip_norm,
        help="Clip the norm of the gradient of the mean loss to this value. 0: off.",
    ),
    training("--seed", default=DEFAULT.seed, help="Random seed. Runs with the same seed are identical."),
    training(
        "--dtype",
        default=DEFAULT.dtype,
        type=OneOf(DTYPES),
        help="Data type of the weights. float64 is half as fast and rarely gives better results.",
    ),
    ss(
        "--use-ss/--no-use-ss",
        default=DEFAULT.use_ss,
        help="Sometimes feed the model its own predictions, so that it learns to recover from its mistakes.",
    ),
    ss("--start-ss", default=DEFAULT.start_ss, help="Teacher-forcing ratio in the first epoch."),
    ss("--decay-ss", default=DEFAULT.decay_ss, help="Decay of the ratio per epoch (d in --ss-schedule)."),
    ss("--min-ss", default=DEFAULT.min_ss, help="Minimum teacher-forcing ratio."),
    ss(
        "--ss-schedule",
        default=DEFAULT.ss_schedule,
        type=OneOf(SS_SCHEDULES),
        help="Teacher-forcing ratio after e epochs. linear: start - d·e; exponential: start·(1 - d)^e; "
        "inverse-sigmoid: start / (1 + d·exp(d·e)), which decreases slowly at first (try d = 0.2).",
    ),
    ss(
        "--ss-feed",
        default=DEFAULT.ss_feed,
        type=OneOf(SS_FEEDS),
        help="Sample the prediction from the model's distribution, or use the most likely character.",
    ),
    *SAVING,
)


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the training options to a command, which receives their values as keyword arguments."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
