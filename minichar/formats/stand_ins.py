"""Safe replacements for the functions called to unpickle arrays.

    cupy._core.core.array(a)            a CuPy array, created from the NumPy array a
    numpy…_reconstruct, numpy.dtype     a NumPy array; BUILD sets its shape, dtype, order and bytes
    numpy…_frombuffer                   a NumPy array, in pickle protocol 5
    numpy…scalar                        a NumPy scalar
    _codecs.encode, __builtin__.bytes   bytes, in protocols without an opcode for bytes
    collections.OrderedDict             a dict

The arguments are untrusted and can have any type, size and nesting depth, so the type of an argument is
checked before it is printed or hashed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from minichar.errors import Refused
from minichar.formats.tensors import MAX_AXES, is_size

DTYPE = re.compile(r"[biufc]\d{1,2}")
BYTE_ORDERS = ("<", ">", "=", "|")


@dataclass(frozen=True)
class Function:
    """Stand-in for a function that a pickle can call."""

    call: Callable[..., Any]


@dataclass
class DType:
    """A dtype whose byte order can be set by a BUILD opcode."""

    dtype: np.dtype

    def build(self, state: Any) -> None:
        """Set the byte order from ``(version, order, …)``."""
        if state[1] not in BYTE_ORDERS:
            raise Refused("it contains a dtype with an unknown byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


@dataclass
class Array:
    """An array whose contents can be set by a BUILD opcode: bytes, dtype, shape, order and axes.

    The NumPy array is created only in `to_numpy`: creating it may copy the bytes, and a pickle can reference
    the same bytes a million times.
    """

    content: tuple[bytes | bytearray | str, np.dtype, tuple[int, ...], Any, Any] | None = None

    def build(self, state: Any) -> None:
        """Set the contents from ``(version, shape, dtype, Fortran order, bytes)``."""
        _, shape, dtype, fortran, data = state
        self.content = filled(data, dtype, shape, "F" if fortran else "C").content

    def to_numpy(self) -> np.ndarray | None:
        """Return the array, or None if its contents have not been set."""
        if self.content is None:
            return None
        data, dtype, shape, order, axes = self.content
        try:
            stored = data.encode("latin-1") if isinstance(data, str) else data
            array = np.frombuffer(stored, dtype).reshape(shape, order="C" if order == "K" else order)
            return array if axes is None else array.transpose(axes)
        except (TypeError, ValueError, OverflowError) as error:
            raise Refused("it contains a corrupted array") from error


def filled(data: Any, dtype: Any, shape: Any, order: Any = "C", axes: Any = None) -> Array:
    """Return an array backed by the bytes `data`. Order K means C order followed by ``transpose(axes)``."""
    if not isinstance(dtype, DType) or not isinstance(data, bytes | bytearray | str):
        raise Refused("it contains an array without a dtype or data")
    if not isinstance(shape, tuple) or len(shape) > MAX_AXES or not all(is_size(n) for n in shape):
        raise Refused("it contains an array with an invalid shape")
    if prod(shape) * dtype.dtype.itemsize != len(data):
        raise Refused(f"it contains an array with shape {str(shape)[:60]} but {len(data):,} bytes of data")
    return Array((data, dtype.dtype, shape, order, axes))


def number_type(code: Any, *_: Any) -> DType:
    """Return the dtype for a type code, such as ``f4``. Only plain numbers are allowed."""
    if not isinstance(code, str) or not DTYPE.fullmatch(code):
        shown = repr(code)[:40] if isinstance(code, str) else f"a {type(code).__name__}"
        raise Refused(f"it contains values with dtype {shown}; only plain numbers are allowed")
    return DType(np.dtype(code))


def on_cpu(array: Any) -> Array:
    """Return the NumPy array from which the pickle would create a CuPy array."""
    if not isinstance(array, Array):
        raise Refused("it contains a CuPy array that was not created from a NumPy array")
    return array


def empty_array(*_: Any) -> Array:
    """Return an uninitialised array, to be filled by a BUILD opcode. The arguments are ignored."""
    return Array()


def empty_dict() -> dict[Any, Any]:
    """Return an empty dict, to be filled by a SETITEMS opcode. `dict` would accept untrusted arguments."""
    return {}


KNOWN = {
    "cupy._core.core.array": Function(on_cpu),
    "cupy.core.core.array": Function(on_cpu),  # CuPy 8 and earlier
    "numpy.dtype": Function(number_type),
    "numpy.ndarray": Function(empty_array),
    "_codecs.encode": Function(lambda text, codec: text),  # `Array.to_numpy` encodes it
    "__builtin__.bytes": Function(lambda: b""),  # protocols 0 to 2 have no opcode for empty bytes
    "collections.OrderedDict": Function(empty_dict),
}
"""The global names that a pickle of arrays may refer to, with their replacements."""
for core in ("numpy.core", "numpy._core"):  # NumPy 1, NumPy 2
    KNOWN |= {
        f"{core}.multiarray._reconstruct": Function(empty_array),
        f"{core}.multiarray.scalar": Function(lambda dtype, data: filled(data, dtype, ())),
        f"{core}.numeric._frombuffer": Function(filled),
    }
