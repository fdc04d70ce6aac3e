"""Suggest the correct name for a misspelt keyword argument."""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from minichar.checks import did_you_mean

ALIASES = {
    "prompt": ("prime", "text"),
    "primetext": ("prime", "text"),
    "max_tokens": ("length",),
    "prime": ("text",),
    "text": ("data", "prime"),
    "data": ("text",),
    "hidden_size": ("rnn_size",),
    "hidden": ("rnn_size",),
    "lr": ("learning_rate",),
    "epochs": ("max_epochs",),
}
"""Names that users may expect for a keyword argument, with its possible names in minichar."""

P = ParamSpec("P")
R = TypeVar("R")


def check_keywords(function: Callable[..., Any], names: Iterable[str]) -> None:
    """Raise a `TypeError` if `function` has no parameter with one of the given names.

    The message suggests a parameter in `ALIASES` or one with a similar name, if any.
    """
    known = signature(function).parameters.keys() - {"self", "cls"}
    for name in names:
        if name in known:
            continue
        meant = next((alias for alias in ALIASES.get(name, ()) if alias in known), name)
        raise TypeError(f"{function.__name__}() has no option {name!r}{did_you_mean(meant, known)}")


def suggesting(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to suggest the correct name for a misspelt keyword argument."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_keywords(function, kwargs)
        return function(*args, **kwargs)

    return checked
