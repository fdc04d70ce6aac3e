"""Create tensors from the bytes of a file, checking every size before passing it to NumPy.

Tensors are views of the bytes where possible. NumPy has no bfloat16 type. A bfloat16 is the upper half of a
float32, so bfloat16 tensors are converted to float32.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import numpy as np

from minichar.errors import Refused

BFLOAT16 = "bfloat16"
DTYPES = {
    **{name: np.dtype(name) for name in ("bool", "float16", "float32", "float64")},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    BFLOAT16: np.dtype("uint16"),
}
"""The NumPy dtype used to store the elements of each supported dtype."""
MAX_AXES = 32
"""Maximum number of axes supported by NumPy 1."""


def check_shape(shape: Any) -> None:
    """Raise `Refused` unless a shape is a sequence of axis lengths that NumPy can represent."""
    if (
        not isinstance(shape, list | tuple)
        or len(shape) > MAX_AXES
        or not all(is_size(n) for n in shape)
        or prod(max(n, 1) for n in shape) >= 1 << 48
    ):
        raise Refused("it contains a tensor with an invalid shape")


def is_size(n: Any) -> bool:
    """Return whether `n` is an integer in [0, 2⁶³)."""
    return type(n) is int and 0 <= n < 1 << 63


def size_of(dtype: str, shape: Sequence[int]) -> int:
    """Return the number of bytes that a tensor occupies in a file."""
    return prod(shape) * DTYPES[dtype].itemsize


def contiguous(shape: Sequence[int]) -> list[int]:
    """Return the strides, in elements, of a tensor in C order."""
    return [prod(shape[axis + 1 :]) for axis in range(len(shape))]


def tensor(
    data: bytes,
    dtype: str,
    shape: Sequence[int],
    strides: Sequence[int],
    offset: int = 0,
    order: Literal["<", ">"] = "<",
) -> np.ndarray:
    """Return a tensor in native byte order. Raises `Refused` if `data` does not contain every element.

    `dtype` is a key of `DTYPES`, and `shape` must be accepted by `check_shape`. `strides` and `offset`, the
    index of the first element, count elements and are not negative. `order` is the byte order of `data`.
    """
    stored = DTYPES[dtype].newbyteorder(order)
    steps = [stride if n > 1 else 0 for n, stride in zip(shape, strides, strict=True)]
    last = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if not prod(shape):
        view = np.empty(shape, stored)
    elif (last + 1) * stored.itemsize <= len(data):
        start, byte_strides = offset * stored.itemsize, [step * stored.itemsize for step in steps]
        view = np.ndarray(shape, stored, data, start, byte_strides)
    else:
        raise Refused("it contains a tensor that is larger than its data")
    if dtype == BFLOAT16:
        return np.asarray(np.left_shift(view, 16, dtype=np.uint32)).view(np.float32)
    return view.astype(stored.newbyteorder("="), copy=False)
