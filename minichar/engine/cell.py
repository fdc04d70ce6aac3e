"""The definition of a recurrent cell.

A cell is a pair of pure functions, ``forward`` and ``backward``, for one time step.
`minichar.engine.layer` computes the matrix products of weights and inputs:

    a = W @ [h_prev; x; 1]                      described by a `Product`
    h, c, cache = forward(xp, a, c_prev)        a contains one ``(H, B)`` array per gate
    da, dc_prev = backward(xp, dh, dc, cache)   da is a tuple of such arrays

If one matrix product depends on the result of another, the cell has two pairs of functions, each in its own
`Stage`. The first stage's ``forward`` returns the state for the second matrix product, followed by the other
arguments of the second stage's ``forward``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from minichar.engine.parameters import Shapes


@dataclass(frozen=True)
class Product:
    """The matrix product ``W @ [state; x; 1]``, with H rows per gate.

    Attributes
    ----------
    name : str
        Parameter name, such as ``W`` or ``U``, unique within the cell. The name ``Wx`` is reserved.
    gates : str
        One letter per gate, in row order.
    reads_state, reads_x : bool
        Whether the product uses the hidden state and the layer's input, respectively. In the second
        stage, the first result of the first stage replaces the hidden state.
    """

    name: str
    gates: str
    reads_state: bool = True
    reads_x: bool = True


@dataclass(frozen=True)
class Stage:
    """One stage of a cell: its matrix products, and the forward and backward functions that follow them.

    Attributes
    ----------
    products : tuple of Product
        Exactly one product must have ``reads_state=True``.
    forward : callable
        ``forward(xp, *a, *passed) -> *results, cache``. `a` contains the matrix products. `passed` contains
        the states before the step or, in the second stage, the first stage's remaining results.
    backward : callable
        ``backward(xp, *dresults, cache) -> *da, *dpassed``.
    cache : str
        Space-separated names of the cached arrays.
    """

    products: tuple[Product, ...]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    cache: str


@dataclass(frozen=True)
class Cell:
    """The definition of a recurrent cell.

    Attributes
    ----------
    name : str
        Value of ``--model``.
    title : str
        Display name.
    states : str
        One letter per state, with the hidden state first.
    stages : tuple of Stage
    takes_h_prev : bool
        Whether ``forward`` takes h_prev as well as the other states.
    biases : dict of str to float
        Initial biases, keyed by gate. All other biases are initialised randomly.
    """

    name: str
    title: str
    states: str
    stages: tuple[Stage, ...]
    takes_h_prev: bool = False
    biases: Mapping[str, float] = field(default_factory=dict)

    @property
    def products(self) -> tuple[Product, ...]:
        """The matrix products of all stages."""
        return tuple(product for stage in self.stages for product in stage.products)

    def input_rows(self, H: int) -> Iterator[tuple[Product, slice]]:
        """For each matrix product that uses x, yield the product and the slice of ``Wx`` rows it uses."""
        start = 0
        for product in self.products:
            if product.reads_x:
                rows = len(product.gates) * H
                yield product, slice(start, start + rows)
                start += rows

    def shapes(self, H: int, D: int, V: int) -> Shapes:
        """Return the name and shape of each parameter in a layer with H units and D inputs.

        If D is 0, the inputs are character ids, as in the first layer of a model without an embedding, and
        ``Wx`` has one column for each of the V characters.
        """
        shapes: Shapes = {}
        for product in self.products:
            columns = H * product.reads_state + D * product.reads_x + 1
            shapes[product.name] = (len(product.gates) * H, columns)
        if D == 0:
            shapes["Wx"] = (sum(len(product.gates) * H for product in self.products if product.reads_x), V)
        return shapes
