"""All parameters of a network as one flat vector with named views.

Clipping, RMSprop, norms and checkpoints then work on one array, whatever the network, and the
gradient has the same layout.
"""

from collections.abc import Iterator
from math import prod
from typing import Self

from minichar.devices.backend import Array, Backend
from minichar.devices.cpu import CPU

Shapes = dict[str, tuple[int, ...]]


class Parameters:
    """Named arrays that share one vector θ.

    Parameters
    ----------
    shapes : dict of str to tuple of int
        Name and shape of every array, in the order of the vector.
    dtype : str
        float32 for training, float64 for exact products, complex128 for the complex-step check.
    backend : Backend
        The device of the vector.

    Attributes
    ----------
    flat : array, (size,)
        θ itself, which shares its memory with the views.
    """

    def __init__(self, shapes: Shapes, dtype: str = "float32", backend: Backend = CPU) -> None:
        self.shapes = dict(shapes)
        self.backend = backend
        self.size = sum(prod(shape) for shape in shapes.values())
        self.flat = backend.zeros((self.size,), dtype)  # (size,)
        self._views: dict[str, Array] = {}
        start = 0
        for name, shape in self.shapes.items():
            self._views[name] = self.flat[start : start + prod(shape)].reshape(shape)
            start += prod(shape)

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def under(self, prefix: str) -> dict[str, Array]:
        """Return the views whose names start with `prefix`, by the rest of their names."""
        return {
            name.removeprefix(prefix): view for name, view in self._views.items() if name.startswith(prefix)
        }

    def items(self) -> Iterator[tuple[str, Array]]:
        """Yield every name with its view, in the order of the vector."""
        yield from self._views.items()

    @property
    def dtype(self) -> str:
        """Name of the dtype of every array."""
        return str(self.flat.dtype)

    def twin(self, dtype: str | None = None) -> Self:
        """Return zeros of the same names and shapes, for a gradient or another precision."""
        return type(self)(self.shapes, dtype or self.dtype, self.backend)
