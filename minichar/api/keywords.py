"""Suggest the correct name for a misspelt keyword argument."""

from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

from minichar.checks import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")


def check_keywords(function: Callable[..., Any], names: Iterable[str]) -> None:
    """Check that `function` has a parameter for each of the given names.

    Raises
    ------
    TypeError
        If a name is unknown. The message suggests the most similar parameter, if any.
    """
    known = signature(function).parameters.keys() - {"self", "cls"}
    for name in names:
        if name not in known:
            raise TypeError(f"{function.__name__}() has no option {name!r}{did_you_mean(name, known)}")


def suggesting(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to suggest the correct name for a misspelt keyword argument."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_keywords(function, kwargs)
        return function(*args, **kwargs)

    return checked
