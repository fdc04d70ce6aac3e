"""Read named arrays from a pickle, such as a dict of CuPy arrays.

    {"W": a, "adam": {"m": b}, "losses": [2.3, 1.9], "note": "…"}

    W             a
    adam.m        b
    losses        array of length 2
                  (note is text, so it is skipped)

Nested names are joined with dots. List items are named 0, 1, …
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minichar.errors import MinicharError
from minichar.formats.pickles import read_pickle
from minichar.formats.stand_ins import Array, Refused

KINDS = "biufc"
"""Numeric kinds of NumPy dtypes."""
MAX_VALUES = 1 << 14
MAX_DEPTH = 32
SHOWN = 5
"""Maximum number of names listed in a note."""
MAX_SHARING = 4
"""A pickle can store an array once and use it many times. This limits the total to 4 times the file size."""


def read_pickled(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the arrays and numbers in a pickle by name, and notes about skipped values.

    Raises
    ------
    MinicharError
        If `read_pickle` raises an error, names are duplicated, or containers are nested too deeply.
    """

    def refused(why: str) -> MinicharError:
        return MinicharError(f"{path} is not a pickle of arrays that minichar can read: {why}")

    pickled = read_pickle(path)
    arrays: dict[str, np.ndarray] = {}
    skipped: list[str] = []
    room = MAX_SHARING * path.stat().st_size
    for count, (keys, value) in enumerate(leaves(pickled)):
        name = ".".join(keys) or "arr_0"  # numpy.savez's name for an unnamed array
        if count == MAX_VALUES or len(keys) > MAX_DEPTH:
            raise refused(
                f"it has more than {MAX_VALUES:,} values, or is nested deeper than {MAX_DEPTH} levels"
            )
        if not name.isprintable() or name in arrays:
            raise refused(f"the name {name[:60]!r} is a duplicate or not printable")
        try:
            array = as_array(value)
        except Refused as error:
            raise refused(str(error)) from error
        if array is None:
            skipped.append(name)
            continue
        room -= array.nbytes
        if room < 0:
            raise refused(
                f"the total size of its arrays is more than {MAX_SHARING} times as large as the file"
            )
        arrays[name] = array
    if not arrays:
        raise refused("it has no arrays")
    more = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
    note = f"skipped non-numeric values: {', '.join(skipped[:SHOWN])}{more}"
    return arrays, (note,) if skipped else ()


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the values in nested containers with their keys, down to one level below `MAX_DEPTH`.

    Empty containers count as values. Otherwise, nested empty lists that are shared could take
    exponential time without reaching `MAX_VALUES`.
    """
    if isinstance(value, list | tuple) and not are_numbers(value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value or len(keys) > MAX_DEPTH:
        yield keys, value
        return
    for key, inner in value.items():
        yield from leaves(inner, (*keys, str(key)))


def are_numbers(values: list[Any] | tuple[Any, ...]) -> bool:
    """Return whether all values are numbers, as in a loss curve, which becomes one array."""
    return bool(values) and all(type(value) in (bool, int, float) for value in values)


def as_array(value: Any) -> np.ndarray | None:
    """Return an array, number or list of numbers as an array, and anything else as None."""
    if isinstance(value, Array):
        return value.to_numpy()
    if type(value) in (bool, int, float, list, tuple):
        with suppress(OverflowError):
            array = np.array(value)
            return array if array.dtype.kind in KINDS else None  # ints over 64 bits become objects
    return None


def cast(arrays: dict[str, np.ndarray], dtype: str | None, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays, with floating-point arrays cast to `dtype`.

    Raises
    ------
    MinicharError
        If a number is too large for `dtype`. The message contains `path`.
    """
    result = dict(arrays)
    for name, array in arrays.items():
        if dtype is None or array.dtype.kind != "f":
            continue
        with np.errstate(over="ignore"):
            result[name] = array.astype(dtype)
        if not np.array_equal(np.isfinite(result[name]), np.isfinite(array)):
            raise MinicharError(f"cannot write {path}: {name} has values that {dtype} cannot represent")
    return result
