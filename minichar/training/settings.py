"""Everything a training run is told, checked in one place."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from minichar.engine.cells import models
from minichar.engine.config import GRU_RESETS
from minichar.errors import MinicharError
from minichar.training.scheduled_sampling import SS_FEEDS
from minichar.training.schedules import SS_SCHEDULES, learning_rate, true_share

SPLITS = ("columns", "tail")
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Settings:
    """The options of `minichar train` that decide its result; the command's help explains each.

    Units: `eval_val_every` counts chunks (steps of the optimiser), `max_epochs` and
    `learning_rate_decay_after` epochs; `grad_clip` is on char-rnn's scale, the gradient
    summed over time and averaged over the batch; `clip_norm` on that of the mean loss.

    Raises
    ------
    MinicharError
        If a value is out of its range.
    """

    data: str | None = None
    encoding: str = "utf-8"
    min_freq: int = 0
    split: str = "columns"
    train_frac: float = 0.95
    val_frac: float = 0.05
    model: str = "lstm"
    rnn_size: int = 128
    num_layers: int = 2
    dropout: float = 0.0
    gru_reset: str = "after"
    seq_length: int = 50
    batch_size: int = 50
    max_epochs: int = 50
    learning_rate: float = 2e-3
    learning_rate_decay: float = 0.97
    learning_rate_decay_after: int = 10
    decay_rate: float = 0.95
    grad_clip: float = 5.0
    clip_norm: float = 0.0
    use_ss: bool = True
    start_ss: float = 1.0
    decay_ss: float = 0.005
    min_ss: float = 0.9
    ss_schedule: str = "linear"
    ss_feed: str = "sample"
    seed: int = 123
    dtype: str = "float32"
    eval_val_every: int = 1000
    sample_every: int = 1
    checkpoint_dir: str = "cv"
    savefile: str = ""
    keep: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), field.type
            if not isinstance(value, int | float if kind is float else kind):  # type: ignore[arg-type]
                raise MinicharError(f"{flag(field.name)} is {value!r}; it must be {KINDS.get(kind, 'text')}")
            if isinstance(value, str) and NOT_IN_NAMES.search(value):
                raise MinicharError(f"{flag(field.name)} is {value!r}; it must be text that a name can have")
        for name, (holds, range_) in RANGES.items():
            value = getattr(self, name)
            if not holds(value):
                raise MinicharError(f"{flag(name)} is {value}; it must be {range_}")
        for name, choices in {"model": models(), **CHOICES}.items():
            value = getattr(self, name)
            if value not in choices:
                raise MinicharError(f"{flag(name)} is {value!r}; it must be one of {', '.join(choices)}")
        if (
            not len(self.savefile.encode("utf-8", "surrogatepass")) <= 100
            or "/" in self.savefile
            or "\\" in self.savefile
        ):
            raise MinicharError(
                f"--savefile is {self.savefile!r}; it must be a short plain name, for a part of another"
            )

    @property
    def run_name(self) -> str:
        """The part of a checkpoint's name that tells runs apart: `savefile`, or else the model."""
        return self.savefile or self.model

    def learning_rate_at(self, e: int) -> float:
        """Return η of epoch `e` = 0, 1, …"""
        return learning_rate(e, self.learning_rate, self.learning_rate_decay, self.learning_rate_decay_after)

    def true_share_at(self, e: int) -> float:
        """Return the share of true input of epoch `e` = 0, 1, …"""
        if not self.use_ss:
            return 1.0
        return true_share(e, self.ss_schedule, self.start_ss, self.decay_ss, self.min_ss)


KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "yes or no"}
"""What a field of each type must be, in words."""


NOT_IN_NAMES = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""NUL, and surrogates but those by which Python stands for a byte that is not UTF-8."""


def flag(name: str) -> str:
    """Return the option of the command line that sets the field `name`."""
    return f"--{name.replace('_', '-')}"


def _whole(least: int) -> tuple[Callable[[Any], bool], str]:
    return (lambda v: type(v) is int and v >= least), f"a whole number, at least {least}"


_SHARE = (lambda v: 0 <= v <= 1), "from 0 to 1"
_POSITIVE = (lambda v: 0 < v < float("inf")), "above 0"
_NOT_NEGATIVE = (lambda v: 0 <= v < float("inf")), "0 (off) or more"

RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("rnn_size", "num_layers", "seq_length", "batch_size"), _whole(1)),
    **dict.fromkeys(("max_epochs", "eval_val_every"), _whole(1)),
    **dict.fromkeys(("min_freq", "learning_rate_decay_after", "seed", "sample_every", "keep"), _whole(0)),
    **dict.fromkeys(("start_ss", "decay_ss", "min_ss"), _SHARE),
    **dict.fromkeys(("grad_clip", "clip_norm"), _NOT_NEGATIVE),
    "learning_rate": _POSITIVE,
    "learning_rate_decay": ((lambda v: 0 < v <= 1), "above 0, at most 1"),
    **dict.fromkeys(("dropout", "decay_rate"), ((lambda v: 0 <= v < 1), "at least 0, below 1")),
}

CHOICES: dict[str, Sequence[str]] = {
    "gru_reset": GRU_RESETS,
    "split": SPLITS,
    "ss_schedule": SS_SCHEDULES,
    "ss_feed": SS_FEEDS,
    "dtype": DTYPES,
}
