"""The search space of a sweep: the options to vary, and their values.

learning_rate=5e-4..2e-2:log    a range, sampled on a logarithmic scale
num_layers=1..3                 a range of integers, because the option takes an integer
rnn_size=64,128,auto            a list of choices
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import inf, prod
from typing import Any

from minichar.checks import AUTO, OR_AUTO, declared, did_you_mean
from minichar.errors import AUTOMATIC, MinicharError, Option, brief
from minichar.training.recipes import settings_from
from minichar.training.settings import Settings

SEARCHED = ("Model", "Training", "Scheduled sampling")
"""Headings of the options that can be searched over. The others change the text or do not affect the loss."""
OPTIONS = declared(Settings)
TYPES = {
    name: option.kind
    for name, option in OPTIONS.items()
    if option.shown and option.shown.heading in SEARCHED and name != "max_time"
}
"""The type of each option that can be searched over."""
TRUTH = {"true": True, "false": False}
LOG = ":log"


@dataclass(frozen=True)
class Dimension:
    """One dimension of the search space: an option, and the ends of a range of values or a list of choices.

    A range is sampled on a logarithmic scale if `log` is True.
    """

    name: str
    values: tuple[Any, ...]
    is_range: bool = False
    log: bool = False

    def suggest(self, trial: Any) -> Any:
        """Return the value of this option in an Optuna trial. Optuna chooses each value once per trial."""
        if not self.is_range:
            return trial.suggest_categorical(self.name, self.values)
        suggest = trial.suggest_int if TYPES[self.name] is int else trial.suggest_float
        return suggest(self.name, *self.values, log=self.log)

    def __contains__(self, value: Any) -> bool:
        """Return whether the option can have a value."""
        if not self.is_range:
            return value in self.values
        low, high = self.values
        return isinstance(value, TYPES[self.name]) and low <= value <= high

    def __str__(self) -> str:
        separator = ".." if self.is_range else ","
        words = (AUTOMATIC.flag if value is AUTO else str(value) for value in self.values)
        return f"{self.name}={separator.join(words)}{LOG if self.log else ''}"


def parse(text: str) -> Dimension:
    """Return the dimension described by ``NAME=VALUES``, or raise a `MinicharError` if it is invalid."""
    written, _, values = text.partition("=")
    name = written.strip().lstrip("-").replace("-", "_")
    if name in OPTIONS.keys() - TYPES.keys():
        raise MinicharError(Option(name), " cannot be searched over: set it to one value for the whole sweep")
    if name not in TYPES:
        raise MinicharError(f"there is no option {brief(written)} to search over{did_you_mean(name, TYPES)}")
    body = values.removesuffix(LOG)
    log, is_range = body != values, ".." in body
    asked = Option("search", text)
    words = [word.strip() for word in body.split(".." if is_range else ",")]
    if not is_range and "" in words:  # a shell splits `rnn_size=8, 16` into two arguments
        raise MinicharError(
            asked, " has an empty value: write a list without spaces, such as rnn_size=64,128"
        )
    converted = (convert(name, word) for word in words)
    found = tuple(converted if is_range else dict.fromkeys(converted))
    if is_range or log:
        numbers = is_range and TYPES[name] in (int, float) and AUTO not in found and len(found) == 2
        if not (numbers and found[0] < found[1] and (found[0] > 0 or not log)):
            advice = "write a smaller and a larger number, such as 0..0.5 or, above 0, 1e-3..1e-2:log"
            raise MinicharError(asked, f" is not a range: {advice}")
    return Dimension(name, found, is_range, log)


def convert(name: str, word: str) -> Any:
    """Convert the string `word` to a value of the option `name`."""
    field = OPTIONS[name]
    kind = field.kind
    if word.lower() == AUTOMATIC.flag and OR_AUTO in field.rules and kind is not bool:  # flags cannot be auto
        return AUTO
    try:
        return TRUTH[word.lower()] if kind is bool else kind(word)
    except (KeyError, ValueError):
        words = {int: "an integer", float: "a number", bool: "true or false"}[kind]
        raise MinicharError(Option(name), f" is {brief(word)}; it must be {words}") from None


def check_space(space: Sequence[Dimension], given: Mapping[str, Any]) -> None:
    """Raise a `MinicharError` if an option is specified twice, or a value cannot be combined with `given`."""
    names = [each.name for each in space]
    for name in names:
        if name in given or names.count(name) > 1:
            raise MinicharError(Option(name), " is specified more than once: search over it or set it")
    first = {**given, **{each.name: each.values[0] for each in space}}
    for each in space:
        for value in each.values:
            settings_from({**first, each.name: value})


def size(space: Sequence[Dimension]) -> float:
    """Return the number of combinations of values, or infinity if an option has a range."""
    return inf if any(each.is_range for each in space) else prod(len(each.values) for each in space)


def combination(space: Sequence[Dimension], n: int) -> dict[str, Any]:
    """Return the n-th combination of choices, counting from 0. The last option varies fastest."""
    choices = next(islice(product(*(each.values for each in space)), n, None))
    return dict(zip((each.name for each in space), choices, strict=True))


def values_of(space: Iterable[Dimension], trial: Any) -> dict[str, Any]:
    """Return the values of the searched options in an Optuna trial."""
    return {each.name: each.suggest(trial) for each in space}
