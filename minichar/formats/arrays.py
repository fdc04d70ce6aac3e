"""Arrays by name from what people pickle, such as a dict of CuPy arrays.

    {"W": a, "adam": {"m": b}, "losses": [2.3, 1.9], "note": "…"}

    W             a
    adam.m        b
    losses        array of 2
                  (note is text and is left out)

Names in nested containers are joined by dots; a list of arrays counts 0, 1, …
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
"""The kinds of NumPy dtypes that are numbers to anybody."""
MAX_VALUES = 1 << 14
MAX_DEPTH = 32
SHOWN = 5
"""Names that a note says before it says "and n more"."""
MAX_SHARING = 4
"""An array may be stored once and named several times: all together are this many times the file at most."""


def read_pickled(path: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the arrays and numbers in a pickle by name, and a note that names what is neither.

    Raises
    ------
    MinicharError
        As `read_pickle`, and if names clash, or containers hold themselves or one another without end.
    """

    def refused(why: str) -> MinicharError:
        return MinicharError(f"{path} is no pickle of arrays minichar can read: {why}")

    pickled = read_pickle(path)
    arrays: dict[str, np.ndarray] = {}
    left_out: list[str] = []
    room = MAX_SHARING * path.stat().st_size
    for count, (keys, value) in enumerate(leaves(pickled)):
        name = ".".join(keys) or "arr_0"  # numpy.savez's name for an array that has none
        if count == MAX_VALUES or len(keys) > MAX_DEPTH:
            raise refused(f"it holds more than {MAX_VALUES:,} values, or nests deeper than {MAX_DEPTH}")
        if not name.isprintable() or name in arrays:
            raise refused(f"the name {name[:60]!r} is there twice or cannot be printed")
        try:
            array = as_array(value)
        except Refused as error:
            raise refused(str(error)) from error
        if array is None:
            left_out.append(name)
            continue
        room -= array.nbytes
        if room < 0:
            raise refused(f"its arrays together are more than {MAX_SHARING} times as large as the file")
        arrays[name] = array
    if not arrays:
        raise refused("it holds no array")
    more = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    note = f"left out, as no numbers: {', '.join(left_out[:SHOWN])}{more}"
    return arrays, (note,) if left_out else ()


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield what stands in nested containers, with the keys that lead there, one level too deep at most.

    An empty container is yielded too: a knot of them would keep this busy for ever in silence.
    """
    if isinstance(value, list | tuple) and not are_numbers(value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value or len(keys) > MAX_DEPTH:
        yield keys, value
        return
    for key, inner in value.items():
        yield from leaves(inner, (*keys, str(key)))


def are_numbers(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether this is a list of numbers, such as a loss curve, which becomes one array."""
    return bool(values) and all(type(value) in (bool, int, float) for value in values)


def as_array(value: Any) -> np.ndarray | None:
    """Return an array, a number or a list of numbers as an array; None for anything else."""
    if isinstance(value, Array):
        return value.to_numpy()
    if type(value) in (bool, int, float, list, tuple):
        with suppress(OverflowError):
            array = np.array(value)
            return array if array.dtype.kind in KINDS else None  # not so an int of more than 64 bits
    return None


def cast(arrays: dict[str, np.ndarray], dtype: str | None, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays with those of real numbers in `dtype`, and the others as they are.

    Raises
    ------
    MinicharError
        That `path` cannot be written, if a number is too large for `dtype`.
    """
    result = dict(arrays)
    for name, array in arrays.items():
        if dtype is None or array.dtype.kind != "f":
            continue
        with np.errstate(over="ignore"):
            result[name] = array.astype(dtype)
        if not np.array_equal(np.isfinite(result[name]), np.isfinite(array)):
            raise MinicharError(f"cannot write {path}: {name} holds values that {dtype} cannot")
    return result
