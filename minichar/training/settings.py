"""Training options, with their defaults and valid ranges."""

from dataclasses import asdict, dataclass
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
    one_of,
    rule,
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


@dataclass(frozen=True)
class Settings:
    """The options of ``minichar train`` that determine the result; see ``minichar train --help``.

    `eval_val_every` is measured in chunks (optimiser steps), `max_epochs` and `learning_rate_decay_after` in
    epochs, `patience` in evaluations, and `max_time` in minutes. None lets minichar choose: the evaluation
    interval during training (`Timetable`), and all other values before it (`minichar.training.choose`). If
    `patience` or `max_val_chunks` is 0, there is no limit. If `keep` is 0, all checkpoints are kept. If
    `epoch_reset` is True, each stream starts from a zero state once per epoch. `reset_on` is the string that
    separates documents (`minichar.text.resets`), or an empty string if there is none. If `val` is None, the
    validation text is part of `data`. `title` is the model's display name, or an empty string for the default
    name. The defaults are those of the ``quick`` recipe. `recipe` only records which recipe was used
    (`minichar.training.recipes`). `grad_clip` applies to the gradient summed over time and averaged over the
    batch, as in char-rnn; `clip_norm` applies to the gradient of the mean loss.

    Raises
    ------
    MinicharError
        If a value has the wrong type or is out of range.
    """

    recipe: str = "quick"
    data: Annotated[Path | None, FILE_NAME] = None
    val: Annotated[Path | None, FILE_NAME] = None
    test: Annotated[Path | None, FILE_NAME] = None
    encoding: Annotated[str, FILE_NAME] = "utf-8"
    min_freq: Annotated[int, at_least(0)] = 0
    reset_on: str = ""
    split: Annotated[str, one_of(SPLITS)] = "columns"
    train_frac: float = 0.95
    val_frac: float = 0.05
    model: Annotated[CellName, OR_AUTO] = AUTO
    rnn_size: Annotated[Size, OR_AUTO] = AUTO
    num_layers: Annotated[Size, OR_AUTO] = AUTO
    dropout: Annotated[float, OR_AUTO, BELOW_1] = AUTO
    weight_drop: DropProbability = 0.0
    embedding: Annotated[int, OR_AUTO, between(0, 1 << 20)] = AUTO
    layer_norm: Annotated[bool, OR_AUTO] = AUTO
    tied: Annotated[bool, OR_AUTO] = AUTO
    seq_length: Annotated[int, OR_AUTO, at_least(1)] = AUTO
    batch_size: Annotated[int, OR_AUTO, at_least(1)] = AUTO
    max_epochs: Annotated[float, OR_AUTO, ABOVE_0, between(0, LARGEST)] = AUTO
    patience: Annotated[int, OR_AUTO, at_least(0)] = AUTO
    max_time: Annotated[float, at_least(0)] = 0.0
    epoch_reset: bool = True
    learning_rate: Annotated[float, OR_AUTO, ABOVE_0] = AUTO
    warmup: Annotated[float, OR_AUTO, BELOW_1] = AUTO
    learning_rate_decay: Annotated[float, UP_TO_1] = 1.0
    learning_rate_decay_after: Annotated[int, at_least(0)] = 10
    decay_rate: Annotated[float, BELOW_1] = 0.95
    weight_decay: Annotated[float, OR_AUTO, at_least(0)] = AUTO
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
    eval_val_every: Annotated[int, OR_AUTO, at_least(1)] = AUTO
    max_val_chunks: Annotated[int, OR_AUTO, at_least(0)] = AUTO
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

    @property
    def fractions(self) -> tuple[float, float]:
        """Fractions of `data` used for training and validation."""
        return (1.0, 0.0) if self.val else (self.train_frac, self.val_frac)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON-compatible values; ``Settings(**values)`` restores them."""
        return {name: str(v) if isinstance(v, Path) else v for name, v in asdict(self).items()}
