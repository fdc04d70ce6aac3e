"""The table of training options.

Each field of `Settings` is one option: name, type, valid values, default, and how it is presented. The
options of ``minichar train``, the signature of `minichar.train`, the recipes, the settings in a
checkpoint and the search space of a sweep are derived from it.
"""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from minichar.checks import (
    ABOVE_0,
    AUTO,
    BELOW_1,
    FILE_NAME,
    OR_AUTO,
    UP_TO_1,
    at_least,
    between,
    check,
    documented,
    one_of,
    option,
    rule,
    time_in,
)
from minichar.engine.config import CellName, DropProbability, Size
from minichar.history import LARGEST
from minichar.model import MAX_TITLE
from minichar.training.scheduled_sampling import SS_FEEDS
from minichar.training.schedules import SS_SCHEDULES

HELD_OUT = {"val": "validation", "test": "test"}
"""Settings that name a text not used for training, and its name in messages."""
TEXTS = ("data", *HELD_OUT)
"""Settings that name a text. A resumed run needs the same texts, but their paths may differ."""
READING = "encoding", "min_freq", "reset_on", "split", "train_frac", "val_frac"
"""Settings that determine how the texts are read and split."""
SPLITS = ("columns", "tail")
DTYPES = ("float32", "float64")
MAX_NAME = 100
"""Maximum length of `savefile` in bytes. File systems limit the whole file name to 255 bytes."""
TITLE = rule(
    lambda value: value == "" or (value.isprintable() and len(value) <= MAX_TITLE),
    f"one line of at most {MAX_TITLE} printable characters",
)
PART_OF_A_NAME = rule(
    lambda value: not {*value} & {"/", "\\"} and len(value.encode("utf-8", "surrogatepass")) <= MAX_NAME,
    f"part of a file name, without slashes and at most {MAX_NAME} bytes long",
)
text, network, training = partial(option, "Text"), partial(option, "Model"), partial(option, "Training")
SAVING, OUTPUT = "Evaluation and checkpoints", "Output"
"""Headings under which the command line also lists options of its own."""
ss, saving, output = (partial(option, heading) for heading in ("Scheduled sampling", SAVING, OUTPUT))


@documented
@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of ``minichar train`` that determine the result.

    None lets minichar choose: the evaluation interval during training (`Timetable`), and all other values
    before it (`minichar.training.choose`). The defaults are those of the ``quick`` recipe.

    Raises
    ------
    MinicharError
        If a value has the wrong type or is out of range.
    """

    recipe: str = option(
        "Recipe",
        "quick",
        "quick, laptop, best: for 3, 15, 60 minutes on one core. char-rnn: its defaults.",
        common=True,
    )
    data: Annotated[tuple[Path, ...], FILE_NAME] = text(
        (),
        "Text file, or directory of .txt files. Several texts are joined in the given order.",
        "PATH",
        shown="Python's bundled help text",
    )
    val: Annotated[Path | None, FILE_NAME] = text(
        None,
        "Validation text, as published with a benchmark. All of --data is then used for training.",
        "FILE",
    )
    test: Annotated[Path | None, FILE_NAME] = text(
        None, "Test text. It is evaluated only once, at the end of the run.", "FILE"
    )
    encoding: Annotated[str, FILE_NAME] = text(
        "utf-8", "Text encoding, such as utf-8 or gb18030.", common=True
    )
    min_freq: Annotated[int, at_least(0)] = text(
        0,
        "Replace characters that occur fewer than N times with the unknown token. 1: only add it. "
        "0: keep all.",
        "N",
        common=True,
    )
    reset_on: str = text(
        "",
        r"String that separates independent poems, names or messages, such as \n: reset the state there.",
        "STR",
        shown="never",
        common=True,
        escaped=True,
    )
    split: Annotated[str, one_of(SPLITS)] = text(
        "columns",
        "columns: validate on the end of every stream, as in char-rnn. "
        "tail: validate on the end of the text, as in torch-rnn and nanoGPT. The tail is harder to predict.",
    )
    train_frac: float = text(0.95, "Fraction of the text used for training.")
    val_frac: float = text(
        0.05, "Fraction of the text used for validation. The remaining text is used for testing."
    )
    model: Annotated[CellName, OR_AUTO] = network(AUTO, "gru is faster than lstm.", common=True)
    rnn_size: Annotated[Size, OR_AUTO] = network(
        AUTO, "Hidden units per layer. Twice as many can take four times as long.", "H", common=True
    )
    num_layers: Annotated[Size, OR_AUTO] = network(
        AUTO, "Number of stacked layers, usually 1 to 3.", "L", common=True
    )
    dropout: Annotated[float, OR_AUTO, BELOW_1] = network(
        AUTO, "Dropout probability. Try 0.25 to 0.5 if the model overfits.", "P", common=True
    )
    weight_drop: DropProbability = network(
        0.0, "DropConnect probability for the recurrent weights. Try 0.1 to 0.3 if the model overfits.", "P"
    )
    embedding: Annotated[int, OR_AUTO, between(0, 1 << 20)] = network(
        AUTO,
        "Represent each character by a learned vector of size D instead of a one-hot vector. This "
        "makes the model smaller if the vocabulary is large, as in Chinese. 0: one-hot vectors.",
        "D",
    )
    tied: Annotated[bool, OR_AUTO] = network(AUTO, "Use the readout's weights as the embedding.")
    layer_norm: Annotated[bool, OR_AUTO] = network(
        AUTO, "Normalise the pre-activations of each gate. Epochs take longer, but fewer are needed."
    )
    max_time: Annotated[float, time_in("m")] = training(
        0.0,
        "Time limit in minutes, or such as 90s or 1h30m. Options are chosen to suit it. 0: none.",
        "TIME",
        common=True,
    )
    max_epochs: Annotated[float, OR_AUTO, ABOVE_0, between(0, LARGEST)] = training(
        AUTO, "Number of passes over the training text; fractions are allowed.", "N", common=True
    )
    batch_size: Annotated[int, OR_AUTO, at_least(1)] = training(
        AUTO,
        "Sequences per batch. Larger batches are faster per character but make fewer updates.",
        "B",
        common=True,
    )
    seq_length: Annotated[int, OR_AUTO, at_least(1)] = training(
        AUTO, "Time steps per chunk in truncated backpropagation.", "T", common=True
    )
    patience: Annotated[int, OR_AUTO, at_least(0)] = training(
        AUTO,
        "End the run if the validation loss has not improved for N evaluations after the warm-up. "
        "0: no limit.",
        "N",
    )
    epoch_reset: bool = training(
        True,
        "Reset the state of each stream to zero once per epoch, one stream after another. "
        "--no-epoch-reset always carries the state, as in char-rnn.",
    )
    learning_rate: Annotated[float, OR_AUTO, ABOVE_0] = training(
        AUTO, "Step size. Too large: the loss diverges; too small: training is slow.", common=True
    )
    warmup: Annotated[float, OR_AUTO, BELOW_1] = training(
        AUTO,
        "Fraction of the run over which the learning rate rises from zero to its full value.",
        "FRACTION",
    )
    learning_rate_decay: Annotated[float, UP_TO_1] = training(
        1.0,
        "Factor applied to the learning rate after each epoch, starting at the end of epoch "
        "--learning-rate-decay-after. 1: no decay.",
    )
    learning_rate_decay_after: Annotated[int, at_least(0)] = training(
        10, "Number of epochs before the learning rate starts to decay.", "N"
    )
    decay_rate: Annotated[float, BELOW_1] = training(
        0.95,
        "Decay rate of RMSprop's running mean square, from 0 to 1. Larger values average over more steps.",
    )
    weight_decay: Annotated[float, OR_AUTO, at_least(0)] = training(
        AUTO,
        "Multiply the weights by 1 - LAMBDA × learning rate at each step, which reduces overfitting.",
        "LAMBDA",
    )
    ema: Annotated[float, BELOW_1] = training(
        0.999,
        "Average the weights over about 1 / (1 - DECAY) steps, and use the average as the model in "
        "evaluations and checkpoints. 0: off.",
        "DECAY",
    )
    grad_clip: Annotated[float, at_least(0)] = training(
        5.0, "Clip each element of the gradient (summed over T, averaged over B) to ± this value. 0: off."
    )
    clip_norm: Annotated[float, at_least(0)] = training(
        0.0, "Clip the norm of the gradient of the mean loss to this value. 0: off."
    )
    seed: Annotated[int, at_least(0)] = training(
        123, "Random seed. On one machine, it and the number of threads determine each step.", common=True
    )
    dtype: Annotated[str, one_of(DTYPES)] = training(
        "float32", "Data type of the weights. float64 is half as fast and rarely gives better results."
    )
    use_ss: bool = ss(
        False, "Feed the model some of its own predictions to make it robust to mistakes.", common=True
    )
    start_ss: Annotated[float, between(0, 1)] = ss(1.0, "Teacher-forcing ratio in the first epoch.")
    decay_ss: Annotated[float, between(0, 1)] = ss(
        0.005, "Decay of the ratio per epoch (d in --ss-schedule)."
    )
    min_ss: Annotated[float, between(0, 1)] = ss(0.9, "Minimum teacher-forcing ratio.")
    ss_schedule: Annotated[str, one_of(SS_SCHEDULES)] = ss(
        "linear",
        "Teacher-forcing ratio after e epochs. linear: start - d·e; exponential: start·(1 - d)^e; "
        "inverse-sigmoid: start / (1 + d·exp(d·e)), which decreases slowly at first (try d = 0.2).",
    )
    ss_feed: Annotated[str, one_of(SS_FEEDS)] = ss(
        "sample", "Sample the prediction from the model's distribution, or use the most likely character."
    )
    checkpoint_dir: Annotated[Path, FILE_NAME] = saving(
        Path("cv"), "Directory for checkpoints.", "DIR", common=True
    )
    savefile: Annotated[str, FILE_NAME, PART_OF_A_NAME] = saving(
        "", "Checkpoints are named lm_NAME_epoch<epoch>_<validation loss>.npz.", "NAME", shown="the cell type"
    )
    eval_val_every: Annotated[int, OR_AUTO, at_least(1)] = saving(
        AUTO,
        "Evaluate and save a checkpoint every N chunks of B×T characters, and at the end of the run. "
        "auto: after each epoch and at least every two minutes, or less often if evaluations would take more "
        "than 10% of the time.",
        "N",
    )
    max_val_chunks: Annotated[int, OR_AUTO, at_least(0)] = saving(
        AUTO,
        "Use only the first N validation chunks in each evaluation. auto: as many as take about 10% of the "
        "time, or more if the run is shorter than an epoch. 0: all.",
        "N",
    )
    checkpoint_every: Annotated[float, time_in("s")] = saving(
        60.0,
        "Save lm_NAME_latest.npz when this much time has passed since the last checkpoint, so that "
        "little progress is lost if the process is killed. A plain number is in seconds. 0: never.",
        "TIME",
    )
    keep: Annotated[int, at_least(0)] = saving(
        3,
        "Keep only the N best checkpoints and the newest one, of those saved since the run was started "
        "or resumed. 0: keep all.",
        "N",
    )
    title: Annotated[str, TITLE] = saving(
        "",
        "Name of the model on the web page and in `minichar inspect`.",
        "TEXT",
        shown="the name of the text",
        common=True,
    )
    sample_every: Annotated[int, at_least(0)] = output(
        1, "Print a line of generated text every N evaluations. 0: never.", "N"
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def run_name(self) -> str:
        """Name of the run in checkpoint file names: `savefile`, or `model` by default."""
        return self.savefile or self.model

    @property
    def fractions(self) -> tuple[float, float]:
        """Fractions of `data` used for training and validation."""
        return (1.0, 0.0) if self.val else (self.train_frac, self.val_frac)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-compatible values; ``Settings(**values)`` restores them."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return values
