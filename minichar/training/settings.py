"""Training options, with their defaults and valid ranges."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from minichar.checks import BELOW_1, FILE_NAME, UP_TO_1, at_least, between, check, one_of, rule
from minichar.engine.config import DropProbability, GruReset, Size
from minichar.engine.registry import AUTO, models
from minichar.history import LARGEST
from minichar.model import MAX_TITLE
from minichar.training.scheduled_sampling import SS_FEEDS
from minichar.training.schedules import SS_SCHEDULES, step_decay, teacher_forcing_ratio, warmup_factor

SPLITS = ("columns", "tail")
DTYPES = ("float32", "float64")
AUTOMATIC = -1
"""Value for which a numeric option is chosen automatically."""
AUTOMATIC_IF_0 = ("seq_length", "batch_size", "max_epochs", "eval_val_every")
"""Options that are chosen automatically if they are 0."""
FRACTION = rule(lambda value: value == AUTOMATIC or 0 <= value < 1, f"at least 0 and below 1, or {AUTOMATIC}")
RNN_SIZE = rule(
    lambda value: value == AUTOMATIC or 1 <= value <= 1 << 20, f"from 1 to {1 << 20}, or {AUTOMATIC}"
)
WEIGHT_DECAY = rule(lambda value: value == AUTOMATIC or value >= 0, f"at least 0, or {AUTOMATIC}")
LEARNING_RATE = rule(lambda value: value == AUTOMATIC or value > 0, f"above 0, or {AUTOMATIC}")
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


@dataclass(frozen=True)
class Settings:
    """The options of ``minichar train`` that determine the result; see ``minichar train --help``.

    `eval_val_every` is measured in chunks (optimiser steps), `max_epochs` and `learning_rate_decay_after` in
    epochs, `patience` in evaluations, and `max_time` in minutes. `choose` replaces these placeholders with
    values that suit the text: 0 for `batch_size`, `seq_length` and `max_epochs`; -1 for `rnn_size`,
    `dropout`, `embedding`, `patience`, `learning_rate`, `warmup`, `weight_decay` and `max_val_chunks`; "auto"
    for `model`; and None for `layer_norm` and `tied`. If `eval_val_every` is 0, the evaluation interval is
    chosen automatically (`Timetable`). If `keep` is 0, all checkpoints are kept. If `epoch_reset` is True,
    each epoch starts from a zero state. `reset_on` is the string that separates documents
    (`minichar.text.resets`), or an empty string if there is none. `title` is the model's display name, or an
    empty string for the default name. The defaults are those of the ``quick`` recipe. `recipe` only records
    which recipe was used (`minichar.training.recipes`). `grad_clip` applies to the gradient summed over time
    and averaged over the batch, as in char-rnn; `clip_norm` applies to the gradient of the mean loss.

    Raises
    ------
    MinicharError
        If a value has the wrong type or is out of range.
    """

    recipe: str = "quick"
    data: Annotated[Path | None, FILE_NAME] = None
    encoding: Annotated[str, FILE_NAME] = "utf-8"
    min_freq: Annotated[int, at_least(0)] = 0
    reset_on: str = ""
    split: Annotated[str, one_of(SPLITS)] = "columns"
    train_frac: float = 0.95
    val_frac: float = 0.05
    model: Annotated[str, one_of(lambda: [AUTO, *models()])] = AUTO
    rnn_size: Annotated[int, RNN_SIZE] = AUTOMATIC
    num_layers: Size = 2
    dropout: Annotated[float, FRACTION] = AUTOMATIC
    gru_reset: GruReset = "after"
    weight_drop: DropProbability = 0.0
    embedding: Annotated[int, between(AUTOMATIC, 1 << 20)] = AUTOMATIC
    layer_norm: bool | None = None
    tied: bool | None = None
    seq_length: Annotated[int, at_least(0)] = 0
    batch_size: Annotated[int, at_least(0)] = 0
    max_epochs: Annotated[float, between(0, LARGEST)] = 0.0
    patience: Annotated[int, at_least(AUTOMATIC)] = AUTOMATIC
    max_time: Annotated[float, at_least(0)] = 0.0
    epoch_reset: bool = True
    learning_rate: Annotated[float, LEARNING_RATE] = AUTOMATIC
    warmup: Annotated[float, FRACTION] = AUTOMATIC
    learning_rate_decay: Annotated[float, UP_TO_1] = 1.0
    learning_rate_decay_after: Annotated[int, at_least(0)] = 10
    decay_rate: Annotated[float, BELOW_1] = 0.95
    weight_decay: Annotated[float, WEIGHT_DECAY] = AUTOMATIC
    ema: Annotated[float, BELOW_1] = 0.999
    grad_clip: Annotated[float, at_least(0)] = 5.0
    clip_norm: Annotated[float, at_least(0)] = 0.0
    use_ss: bool = False
    start_ss: Annotated[float, between(0, 1)] = 1.0
    decay_ss: Annotated[float, between(0, 1)] = 0.005
    min_ss: Annotated[float, between(0, 1)] = 0.9
    ss_schedule: Annotated[str, one_of(SS_SCHEDULES)] = "linear"
    ss_feed: Annotated[str, one_of(SS_FEEDS)] = "sample"
    seed: Annotated[int, at_least(0)] = 123
    dtype: Annotated[str, one_of(DTYPES)] = "float32"
    eval_val_every: Annotated[int, at_least(0)] = 0
    max_val_chunks: Annotated[int, at_least(AUTOMATIC)] = AUTOMATIC
    sample_every: Annotated[int, at_least(0)] = 1
    checkpoint_dir: Annotated[Path, FILE_NAME] = Path("cv")
    savefile: Annotated[str, FILE_NAME, PART_OF_A_NAME] = ""
    title: Annotated[str, TITLE] = ""
    keep: Annotated[int, at_least(0)] = 3
    checkpoint_every: Annotated[float, at_least(0)] = 60.0

    def __post_init__(self) -> None:
        check(self)

    @property
    def run_name(self) -> str:
        """Name of the run in checkpoint file names: `savefile`, or `model` by default."""
        return self.savefile or self.model

    def learning_rate_at(self, i: int, per_epoch: int, total: int) -> float:
        """Return the learning rate at step i = 0, 1, …, `total` - 1."""
        decay = step_decay(i // per_epoch, self.learning_rate_decay, self.learning_rate_decay_after)
        return self.learning_rate * warmup_factor(i, total, self.warmup) * decay

    def teacher_forcing_ratio_at(self, e: int) -> float:
        """Return the teacher-forcing ratio in epoch `e`, counting from 0."""
        if not self.use_ss:
            return 1.0
        return teacher_forcing_ratio(e, self.ss_schedule, self.start_ss, self.decay_ss, self.min_ss)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-compatible values; ``Settings(**values)`` restores them."""
        return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}
