"""Flatten sequences of arrays and tuples of arrays, and restore them."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

Nesting = tuple[int | None, ...]
"""The structure of a sequence of arrays and tuples: None for an array, and the length for a tuple."""


def flatten(values: Iterable[Any]) -> Iterator[Any]:
    """Yield all arrays in a sequence of arrays and tuples of arrays."""
    for value in values:
        yield from value if isinstance(value, tuple) else (value,)


def nesting_of(values: Iterable[Any]) -> Nesting:
    """Return the structure of a sequence of arrays and tuples of arrays."""
    return tuple(len(value) if isinstance(value, tuple) else None for value in values)


def nest(nesting: Nesting, arrays: Iterable[Any]) -> list[Any]:
    """Group arrays into tuples; the inverse of `flatten`."""
    rest = iter(arrays)
    return [next(rest) if n is None else tuple(islice(rest, n)) for n in nesting]
