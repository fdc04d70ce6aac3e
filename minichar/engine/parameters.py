"""Store all parameters of a network in one flat vector with named views.

The gradient vector has the same layout. Gradient clipping and RMSprop therefore work on single arrays.
"""

from collections.abc import Iterator
from math import prod
from typing import Self

from minichar.devices.backend import Array, Backend
from minichar.devices.cpu import CPU
from minichar.errors import counted

Shapes = dict[str, tuple[int, ...]]


class Parameters:
    """Named arrays that are views of one flat vector θ.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Name and shape of each array, in storage order.
    dtype : str
        float32 or float64, or complex128 for the complex-step check.
    backend : Backend
        Device that stores the vector.

    Attributes
    ----------
    flat : array, (P,)
        The flat parameter vector θ, which shares memory with the views.
    """

    def __init__(self, shapes: Shapes, dtype: str = "float32", backend: Backend = CPU) -> None:
        self.shapes = dict(shapes)
        self.backend = backend
        self.size = sum(prod(shape) for shape in shapes.values())
        self.flat = backend.zeros((self.size,), dtype)  # (P,)
        self._views: dict[str, Array] = {}
        start = 0
        for name, shape in self.shapes.items():
            self._views[name] = self.flat[start : start + prod(shape)].reshape(shape)
            start += prod(shape)

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __repr__(self) -> str:
        arrays = "".join(f"\n  {name} {shape}" for name, shape in self.shapes.items())
        return f"Parameters: {counted(self.size, 'value')}, {self.dtype}{arrays}"

    def under(self, prefix: str) -> dict[str, Array]:
        """Return the views whose names start with `prefix`, keyed by the rest of the name."""
        return {
            name.removeprefix(prefix): view for name, view in self._views.items() if name.startswith(prefix)
        }

    def items(self) -> Iterator[tuple[str, Array]]:
        """Yield the name and view of each array, in storage order."""
        yield from self._views.items()

    @property
    def dtype(self) -> str:
        """Name of the dtype of all arrays."""
        return str(self.flat.dtype)

    def twin(self, dtype: str | None = None) -> Self:
        """Return zero-filled parameters with the same names and shapes."""
        return type(self)(self.shapes, dtype or self.dtype, self.backend)
