"""Read named arrays from a pickle file that contains, for example, a dict of CuPy arrays.

    {"W": a, "adam": {"m": b}, "losses": [2.3, 1.9], "note": "…"}

    W             a
    adam.m        b
    losses        array of length 2
                  (note is text, so it is skipped)

Nested names are joined with dots. List items are named 0, 1, …
"""

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints.archive import RESERVED
from minichar.errors import MinicharError, Refused, listed, plain, reading
from minichar.formats.budget import Budget
from minichar.formats.pickles import run
from minichar.formats.stand_ins import KNOWN, Array

MAX_BYTES = 4 << 30
KINDS = "biufc"
"""Numeric kinds of NumPy dtypes."""
MAX_VALUES = 1 << 14
MAX_DEPTH = 32
SHOWN = 5
"""Maximum number of names listed in a note."""
MAX_SHARING = 4
"""A pickle can store a value once and reference it many times. The total size of the arrays in bytes, and the
total number of list and dict elements, are limited to this multiple of the file size."""


def read_pickled(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return ``(arrays, notes)``: a dict of the arrays and numbers in a pickle, and notes on skipped values.

    Raises a `MinicharError` if the file cannot be read, is corrupted or too large, or refers to anything
    other than arrays and containers, if there are no arrays, if a name is reserved, duplicated or not
    printable, or if the values exceed a limit on their number, size or nesting.
    """
    with reading(path, "a pickle of arrays"):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise Refused(f"it is larger than {MAX_BYTES:,} bytes")
        arrays, skipped = named_arrays(run(io.FileIO(path), KNOWN), MAX_SHARING * size)
        if not arrays:
            raise Refused("it contains no arrays")
    note = f"skipped non-numeric values: {listed(skipped[:SHOWN], len(skipped))}"
    return arrays, (note,) if skipped else ()


def named_arrays(pickled: Any, budget: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the arrays and numbers in nested containers by name, and the names of the other values."""
    arrays: dict[str, np.ndarray] = {}
    skipped: list[str] = []
    array_bytes = Budget(
        budget, f"the total size of its arrays is more than {MAX_SHARING} times the file size"
    )
    elements = Budget(budget, "its lists and dicts have too many elements for the file size")
    converted: dict[int, np.ndarray | None] = {}
    for count, (keys, value) in enumerate(leaves(pickled, elements)):
        name = ".".join(keys) or "arr_0"  # numpy.savez's name for an unnamed array
        if count == MAX_VALUES or len(keys) > MAX_DEPTH:
            raise Refused(
                f"it has more than {MAX_VALUES:,} values or more than {MAX_DEPTH} levels of nesting"
            )
        if not name.isprintable() or name in arrays:
            raise Refused(f"the name {name[:60]!r} is a duplicate or not printable")
        if id(value) not in converted:
            converted[id(value)] = as_array(value)
        array = converted[id(value)]
        if array is None:
            skipped.append(name)
            continue
        if name == "header":
            raise Refused(RESERVED)
        array_bytes.spend(array.nbytes)
        arrays[name] = array
    return arrays, skipped


def leaves(value: Any, elements: Budget, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield ``(keys, value)`` for each value in nested containers, down to one level below `MAX_DEPTH`.

    Each element of each container counts against the budget `elements`. Empty containers count as values;
    otherwise, shared nested empty lists could take exponential time without reaching `MAX_VALUES`.
    """
    if isinstance(value, list | tuple | dict):
        elements.spend(len(value))
    if isinstance(value, list | tuple) and not are_numbers(value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value or len(keys) > MAX_DEPTH:
        yield keys, value
        return
    for key, inner in value.items():
        yield from leaves(inner, elements, (*keys, str(key)))


def are_numbers(values: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether all values are numbers. If so, a list such as a loss curve becomes one array."""
    return bool(values) and all(type(value) in (bool, int, float) for value in values)


def as_array(value: Any) -> np.ndarray | None:
    """Convert an array, number or list of numbers to an array. Return None for any other value."""
    if isinstance(value, Array):
        return value.to_numpy()
    if type(value) in (bool, int, float, list, tuple):
        with suppress(OverflowError):
            array = np.array(value)
            return array if array.dtype.kind in KINDS else None  # ints wider than 64 bits become objects
    return None


def cast(arrays: dict[str, np.ndarray], dtype: str | None, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays, with floating-point arrays cast to `dtype`.

    Raises a `MinicharError` that names `path` if a value is too large for `dtype`.
    """
    result = dict(arrays)
    for name, array in arrays.items():
        if dtype is None or array.dtype.kind != "f":
            continue
        with np.errstate(over="ignore"):
            result[name] = array.astype(dtype)
        if not np.array_equal(np.isfinite(result[name]), np.isfinite(array)):
            raise MinicharError(
                f"cannot write {path}: {plain(name)} has values that {dtype} cannot represent"
            )
    return result
