"""What the names in a pickle of arrays stand for here.

    cupy._core.core.array(a)            a CuPy array pickles as this of a NumPy array: it is a
    numpy…_reconstruct, numpy.dtype     a NumPy array, filled by BUILD: shape, dtype, order, bytes
    numpy…_frombuffer                   the same in protocol 5
    numpy…scalar                        a NumPy number
    _codecs.encode, __builtin__.bytes   bytes, in protocols that have none of their own
    collections.OrderedDict             a dict

Each stand-in takes what the file says with suspicion: its arguments can be anything, of any
size, one inside another without end, so none is printed or hashed before its type is known.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

MAX_AXES = 64
DTYPE = re.compile(r"[biufc]\d{1,2}")


class Refused(Exception):
    """Why a pickle is not read."""


class Name(NamedTuple):
    """A function or class that the pickle names."""

    dotted: str


@dataclass
class DType:
    """A dtype, whose byte order comes later, by BUILD."""

    dtype: np.dtype

    def build(self, state: Any) -> None:
        """Take the byte order from ``(version, order, …)``."""
        self.dtype = self.dtype.newbyteorder(state[1])


@dataclass
class Array:
    """An array, whose content may come later, by BUILD.

    Attributes
    ----------
    content : tuple or None
        Bytes, dtype, shape, order and axes, which fit one another. They are put together only
        when asked for: a pickle can name one string of bytes a million times.
    """

    content: tuple[bytes | bytearray | str, np.dtype, tuple[int, ...], Any, Any] | None = None

    def build(self, state: Any) -> None:
        """Take the content from ``(version, shape, dtype, Fortran order, bytes)``."""
        _, shape, dtype, fortran, data = state
        self.content = filled(data, dtype, shape, "F" if fortran else "C").content

    def to_numpy(self) -> np.ndarray | None:
        """Return the array; None where it was never filled."""
        if self.content is None:
            return None
        data, dtype, shape, order, axes = self.content
        try:
            stored = data.encode("latin-1") if isinstance(data, str) else data
            array = np.frombuffer(stored, dtype).reshape(shape, order="C" if order == "K" else order)
            return array if axes is None else array.transpose(axes)
        except (TypeError, ValueError) as error:
            raise Refused("an array in it is damaged") from error


def filled(data: Any, dtype: Any, shape: Any, order: Any = "C", axes: Any = None) -> Array:
    """Return the array whose bytes are `data`; in order K, a C array of `shape` with its axes moved."""
    if not isinstance(dtype, DType) or not isinstance(data, bytes | bytearray | str):
        raise Refused("an array in it has no dtype or no bytes")
    if not isinstance(shape, tuple) or len(shape) > MAX_AXES or not all(is_size(n) for n in shape):
        raise Refused("an array in it has a shape that is none")
    if prod(shape) * dtype.dtype.itemsize != len(data):
        raise Refused(f"an array in it says shape {str(shape)[:60]}, which its bytes do not fit")
    return Array((data, dtype.dtype, shape, order, axes))


def is_size(n: Any) -> bool:
    """Whether this can be the length of an axis."""
    return type(n) is int and 0 <= n < 1 << 63


def number_type(code: Any, *_: Any) -> DType:
    """Return the dtype of `code`, such as ``f4``; only plain numbers have one."""
    if not isinstance(code, str) or not DTYPE.fullmatch(code):
        shown = repr(code)[:40] if isinstance(code, str) else f"a {type(code).__name__}"
        raise Refused(f"it holds values of dtype {shown}; only plain numbers are read")
    return DType(np.dtype(code))


def on_cpu(array: Any) -> Array:
    """Return a CuPy array as the NumPy array it was pickled from."""
    if not isinstance(array, Array):
        raise Refused("a CuPy array in it is not made from a NumPy array")
    return array


def empty_dict() -> dict[Any, Any]:
    """Return an OrderedDict as it begins; SETITEMS fills it."""
    return {}


def empty_bytes() -> bytes:
    """Return what protocols 0 to 2 have no other word for."""
    return b""


KNOWN: dict[str, Callable[..., Any]] = {
    "cupy._core.core.array": on_cpu,
    "cupy.core.core.array": on_cpu,  # CuPy 8 and before
    "numpy.dtype": number_type,
    "numpy.ndarray": lambda: Array(),
    "_codecs.encode": lambda text, codec: text,  # `Array` encodes it when it is needed
    "__builtin__.bytes": empty_bytes,
    "collections.OrderedDict": empty_dict,
}
for core in ("numpy.core", "numpy._core"):  # NumPy 1, NumPy 2
    KNOWN |= {
        f"{core}.multiarray._reconstruct": lambda *_: Array(),
        f"{core}.multiarray.scalar": lambda dtype, data: filled(data, dtype, ()),
        f"{core}.numeric._frombuffer": filled,
    }


def known(module: Any, name: Any) -> Name:
    """Return the name of a function or class, if it is one of `KNOWN`."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise Refused("it names something by what is no text")
    dotted = f"{module}.{name}"
    if dotted not in KNOWN:
        raise Refused(f"it names {dotted[:80]!r}, and only arrays, numbers and plain containers are read")
    return Name(dotted)
