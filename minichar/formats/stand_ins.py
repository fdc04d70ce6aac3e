"""Replacements for the functions that a pickle of arrays names.

    cupy._core.core.array(a)            a CuPy array, pickled as a call on the NumPy array a
    numpy…_reconstruct, numpy.dtype     a NumPy array, filled by BUILD: shape, dtype, order, bytes
    numpy…_frombuffer                   the same in protocol 5
    numpy…scalar                        a NumPy number
    _codecs.encode, __builtin__.bytes   bytes, in protocols that have no instruction for them
    collections.OrderedDict             a dict

The arguments come from an untrusted file: they can have any type, any size and any depth. So no
argument is printed or hashed before its type is checked.
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
    """The reason why a pickle is not read."""


class Name(NamedTuple):
    """A function or class that a pickle names."""

    dotted: str


@dataclass
class DType:
    """A dtype. BUILD sets its byte order later."""

    dtype: np.dtype

    def build(self, state: Any) -> None:
        """Set the byte order from ``(version, order, …)``."""
        self.dtype = self.dtype.newbyteorder(state[1])


@dataclass
class Array:
    """An array. BUILD may set its content later.

    Attributes
    ----------
    content : tuple or None
        Bytes, dtype, shape, order and axes, with sizes that fit. The NumPy array is made only in
        `to_numpy`, since a pickle can use one string of bytes a million times.
    """

    content: tuple[bytes | bytearray | str, np.dtype, tuple[int, ...], Any, Any] | None = None

    def build(self, state: Any) -> None:
        """Set the content from ``(version, shape, dtype, Fortran order, bytes)``."""
        _, shape, dtype, fortran, data = state
        self.content = filled(data, dtype, shape, "F" if fortran else "C").content

    def to_numpy(self) -> np.ndarray | None:
        """Return the array, or None if it was never filled."""
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
    """Return an array with the bytes `data`. In order K it is a C array of `shape`, then transposed."""
    if not isinstance(dtype, DType) or not isinstance(data, bytes | bytearray | str):
        raise Refused("an array in it has no dtype or no bytes")
    if not isinstance(shape, tuple) or len(shape) > MAX_AXES or not all(is_size(n) for n in shape):
        raise Refused("an array in it has an invalid shape")
    if prod(shape) * dtype.dtype.itemsize != len(data):
        raise Refused(f"an array in it declares shape {str(shape)[:60]} but has {len(data):,} bytes of data")
    return Array((data, dtype.dtype, shape, order, axes))


def is_size(n: Any) -> bool:
    """Return whether this can be the length of an axis."""
    return type(n) is int and 0 <= n < 1 << 63


def number_type(code: Any, *_: Any) -> DType:
    """Return the dtype of `code`, such as ``f4``. Only plain numbers are allowed."""
    if not isinstance(code, str) or not DTYPE.fullmatch(code):
        shown = repr(code)[:40] if isinstance(code, str) else f"a {type(code).__name__}"
        raise Refused(f"it has values of dtype {shown}; only plain numbers are allowed")
    return DType(np.dtype(code))


def on_cpu(array: Any) -> Array:
    """Return a CuPy array as the NumPy array it was pickled from."""
    if not isinstance(array, Array):
        raise Refused("a CuPy array in it is not made from a NumPy array")
    return array


def empty_dict() -> dict[Any, Any]:
    """Return an empty OrderedDict, as a dict. SETITEMS fills it."""
    return {}


def empty_bytes() -> bytes:
    """Return empty bytes, for which protocols 0 to 2 have no instruction."""
    return b""


KNOWN: dict[str, Callable[..., Any]] = {
    "cupy._core.core.array": on_cpu,
    "cupy.core.core.array": on_cpu,  # CuPy 8 and before
    "numpy.dtype": number_type,
    "numpy.ndarray": lambda: Array(),
    "_codecs.encode": lambda text, codec: text,  # `Array.to_numpy` encodes it
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
    """Return the name of a function or class if it is in `KNOWN`."""
    if not isinstance(module, str) or not isinstance(name, str):
        raise Refused("it names a function by something that is not a string")
    dotted = f"{module}.{name}"
    if dotted not in KNOWN:
        raise Refused(f"it names {dotted[:80]!r}; only arrays, numbers and plain containers are allowed")
    return Name(dotted)
