"""The options of ``minichar train`` that correspond to the fields of `Settings`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minichar.checks import OR_AUTO, declared
from minichar.cli.options import (
    PATH,
    CellName,
    Decimal,
    Decorator,
    Escaped,
    Minutes,
    OneOf,
    OrAuto,
    Whole,
    group,
)
from minichar.errors import AUTOMATIC
from minichar.training.choose import STEPS_PER_VAL_CHUNK
from minichar.training.recipes import RECIPES, table
from minichar.training.scheduled_sampling import SS_FEEDS
from minichar.training.schedules import SS_SCHEDULES
from minichar.training.settings import DTYPES, SPLITS, Settings

LIST = "list"
"""Value of ``--recipe`` that prints the recipes."""

COMMON = (
    "recipe",
    "data",
    "encoding",
    "min_freq",
    "reset_on",
    "model",
    "rnn_size",
    "num_layers",
    "dropout",
    "max_time",
    "max_epochs",
    "batch_size",
    "seq_length",
    "learning_rate",
    "seed",
    "use_ss",
    "checkpoint_dir",
)
"""Settings whose options are listed by ``--help``. The others are listed only by ``--help-all``."""
TYPES: dict[Any, Any] = {int: Whole(), float: Decimal(), Path: PATH, Path | None: PATH}


def settings_group(heading: str) -> Callable[..., Decorator]:
    """Return `group` with the defaults and the types of the fields of `Settings`."""
    option, defaults, fields = group(heading), Settings(), declared(Settings)

    def setting(*names: str, **attributes: Any) -> Decorator:
        field = names[0].partition("/")[0].removeprefix("--").replace("-", "_")
        if field in fields:
            kind, rules = fields[field]
            known = {"default": getattr(defaults, field), "rare": field not in COMMON}
            attributes = known | {"type": TYPES.get(kind)} | attributes
            if OR_AUTO in rules:
                attributes["show_default"] = AUTOMATIC.flag
                if kind is not bool:
                    attributes["type"] = OrAuto(attributes["type"])
        return option(*names, **attributes)

    return setting


recipe = settings_group("Recipe")
text = settings_group("Text")
model = settings_group("Model")
training = settings_group("Training")
ss = settings_group("Scheduled sampling")
saving = settings_group("Evaluation and checkpoints")
output = settings_group("Output")


def list_recipes(ctx: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Return the name of the recipe. For ``list``, print all recipes and exit."""
    if name == LIST:
        click.echo("\n".join(table()))
        ctx.exit()
    return name


def only_one(ctx: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]) -> Path | None:
    """Return the training text, if specified. Specifying a second one is an error."""
    if len(paths) > 1:
        raise click.UsageError("--data can be used only once: to train on multiple files, use a directory")
    return paths[0] if paths else None


OPTIONS = (
    recipe(
        "--recipe",
        metavar="NAME",
        type=OneOf([*RECIPES, LIST]),
        is_eager=True,
        callback=list_recipes,
        help="quick, laptop, best: for 3, 15, 60 minutes on one core. char-rnn: its defaults. "
        f"{LIST}: list the recipes.",
    ),
    text(
        "--data",
        metavar="PATH",
        multiple=True,
        callback=only_one,
        help="Text file, directory of .txt files, or - for standard input.  "
        "[default: Python's bundled help text]",
    ),
    text(
        "--val",
        metavar="FILE",
        help="Validation text, as published with a benchmark. All of --data is then used for training.",
    ),
    text(
        "--test",
        metavar="FILE",
        help="Test text. It is evaluated only once, at the end of the run.",
    ),
    text("--encoding", help="Text encoding, such as utf-8 or gb18030."),
    text(
        "--min-freq",
        metavar="N",
        help="Replace characters that occur fewer than N times with the unknown token. "
        "1: only add it. 0: keep all.",
    ),
    text(
        "--reset-on",
        type=Escaped(),
        metavar="STR",
        show_default=False,
        help=r"String that separates independent poems, names or messages, such as \n: reset the state "
        "there.  [default: never]",
    ),
    text(
        "--split",
        type=OneOf(SPLITS),
        help="columns: validate on the end of every stream, as in char-rnn. "
        "tail: validate on the end of the text, as in torch-rnn and nanoGPT. The tail is "
        "harder to predict.",
    ),
    text("--train-frac", help="Fraction of the text used for training."),
    text(
        "--val-frac",
        help="Fraction of the text used for validation. The remaining text is used for testing.",
    ),
    model("--model", type=CellName(), help="gru is faster than lstm."),
    model(
        "--rnn-size",
        metavar="H",
        help="Hidden units per layer. Twice as many can take four times as long.",
    ),
    model("--num-layers", metavar="L", help="Number of stacked layers, usually 1 to 3."),
    model(
        "--dropout",
        metavar="P",
        help="Dropout probability. Try 0.25 to 0.5 if the model overfits.",
    ),
    model(
        "--weight-drop",
        metavar="P",
        help="DropConnect probability for the recurrent weights. Try 0.1 to 0.3 if the model overfits.",
    ),
    model(
        "--embedding",
        metavar="D",
        help="Represent each character by a learned vector of size D instead of a one-hot vector. This "
        "makes the model smaller if the vocabulary is large, as in Chinese. 0: one-hot vectors.",
    ),
    model("--tied/--no-tied", help="Use the readout's weights as the embedding."),
    model(
        "--layer-norm/--no-layer-norm",
        help="Normalise the pre-activations of each gate. Epochs take longer, but fewer are needed.",
    ),
    training(
        "--max-time",
        type=Minutes(),
        metavar="MINUTES",
        help="Stop after this time, and choose the options to suit it. 0: no limit, see --recipe.",
    ),
    training(
        "--max-epochs",
        metavar="N",
        help="Number of passes over the training text; fractions are allowed.",
    ),
    training(
        "--batch-size",
        metavar="B",
        help="Sequences per batch. Larger batches are faster per character but make fewer updates.",
    ),
    training("--seq-length", metavar="T", help="Time steps per chunk in truncated backpropagation."),
    training(
        "--patience",
        metavar="N",
        help="End the run if the validation loss has not improved for N evaluations after the warm-up. "
        "0: no limit.",
    ),
    training(
        "--epoch-reset/--no-epoch-reset",
        help="Reset the state of each stream to zero once per epoch, one stream after another. "
        "--no-epoch-reset always carries the state, as in char-rnn.",
    ),
    training(
        "--learning-rate",
        help="Step size. Too large: the loss diverges; too small: training is slow.",
    ),
    training(
        "--warmup",
        metavar="FRACTION",
        help="Fraction of the run over which the learning rate rises from zero to its full value.",
    ),
    training(
        "--learning-rate-decay",
        help="Factor applied to the learning rate after each epoch, starting at the end of epoch "
        "--learning-rate-decay-after. 1: no decay.",
    ),
    training(
        "--learning-rate-decay-after",
        metavar="N",
        help="Number of epochs before the learning rate starts to decay.",
    ),
    training(
        "--decay-rate",
        help="Decay rate of RMSprop's running mean square, from 0 to 1. Larger values average over more "
        "steps.",
    ),
    training(
        "--weight-decay",
        metavar="LAMBDA",
        help="Multiply the weights by 1 - LAMBDA × learning rate at each step, which reduces overfitting.",
    ),
    training(
        "--ema",
        metavar="DECAY",
        help="Average the weights over about 1 / (1 - DECAY) steps, and use the average as the model in "
        "evaluations and checkpoints. 0: off.",
    ),
    training(
        "--grad-clip",
        help="Clip each element of the gradient (summed over T, averaged over B) to ± this value. 0: off.",
    ),
    training("--clip-norm", help="Clip the norm of the gradient of the mean loss to this value. 0: off."),
    training("--seed", help="Random seed. On one machine, it and the number of threads determine each step."),
    training(
        "--dtype",
        type=OneOf(DTYPES),
        help="Data type of the weights. float64 is half as fast and rarely gives better results.",
    ),
    ss(
        "--use-ss/--no-use-ss",
        help="Feed the model some of its own predictions to make it robust to mistakes.",
    ),
    ss("--start-ss", help="Teacher-forcing ratio in the first epoch."),
    ss("--decay-ss", help="Decay of the ratio per epoch (d in --ss-schedule)."),
    ss("--min-ss", help="Minimum teacher-forcing ratio."),
    ss(
        "--ss-schedule",
        type=OneOf(SS_SCHEDULES),
        help="Teacher-forcing ratio after e epochs. linear: start - d·e; exponential: start·(1 - d)^e; "
        "inverse-sigmoid: start / (1 + d·exp(d·e)), which decreases slowly at first (try d = 0.2).",
    ),
    ss(
        "--ss-feed",
        type=OneOf(SS_FEEDS),
        help="Sample the prediction from the model's distribution, or use the most likely character.",
    ),
    saving("--checkpoint-dir", metavar="DIR", help="Directory for checkpoints."),
    saving(
        "--savefile",
        metavar="NAME",
        show_default=False,
        help="Checkpoints are named lm_NAME_epoch<epoch>_<validation loss>.npz.  [default: the cell type]",
    ),
    saving(
        "--eval-val-every",
        metavar="N",
        help="Evaluate and save a checkpoint every N chunks of B×T characters, and at the end of the run. "
        "auto: after each epoch and at least every two minutes, or less often if evaluations would take more "
        "than 10% of the time.",
    ),
    saving(
        "--max-val-chunks",
        metavar="N",
        help="Use only the first N validation chunks in each evaluation. "
        f"auto: one chunk per {STEPS_PER_VAL_CHUNK} training steps between evaluations "
        "(about 10% of the time, or more if the run is shorter than an epoch). 0: all.",
    ),
    saving(
        "--checkpoint-every",
        metavar="SECONDS",
        help="Save lm_NAME_latest.npz when this much time has passed since the last checkpoint, so that "
        "little progress is lost if the process is killed. 0: never.",
    ),
    saving(
        "--keep",
        metavar="N",
        help="Keep only the N best checkpoints and the newest one, of those saved since the run was started "
        "or resumed. 0: keep all.",
    ),
    output(
        "--sample-every",
        metavar="N",
        help="Print a line of generated text every N evaluations. 0: never.",
    ),
)


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the training options to a command, which receives their values as keyword arguments."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command
