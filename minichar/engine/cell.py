"""The definition of a recurrent cell, and the registry of cells.

A cell is a pair of pure functions for one time step, ``forward`` and ``backward``. The matrix
products of weights and inputs are computed by `minichar.engine.layer`:

    a = W @ [h_prev; x; 1]                      one `Product`: its name, gates and inputs
    h, c, cache = forward(xp, a, c_prev)        a has one array ``(H, B)`` per gate
    da, dc_prev = backward(xp, dh, dc, cache)   da is a tuple of such arrays

A cell that needs a second matrix product has two such pairs, each in a `Stage`. The first stage
returns the input of the second product, followed by all other arguments of the second stage.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from minichar.engine.parameters import Shapes
from minichar.errors import MinicharError


@dataclass(frozen=True)
class Product:
    """The matrix product ``W @ [state; x; 1]``, with a block of H rows for each gate.

    Attributes
    ----------
    name : str
        Name of the parameter: ``W``, ``U``, …
    gates : str
        One letter per gate, in the order of the rows.
    reads_state, reads_x : bool
        Whether the product includes the hidden state (in a second stage, the first result of the
        first stage) and the layer's input.
    """

    name: str
    gates: str
    reads_state: bool = True
    reads_x: bool = True


@dataclass(frozen=True)
class Stage:
    """Matrix products, and the pair of functions that is applied to their results.

    Attributes
    ----------
    products : tuple of Product
        Exactly one product must have ``reads_state=True``.
    forward : callable
        ``forward(xp, *a, *passed) -> *results, cache``. `a` contains the result of each product.
        `passed` contains the states before the step or, in a second stage, the remaining results
        of the first.
    backward : callable
        ``backward(xp, *dresults, cache) -> *da, *dpassed``.
    cache : str
        Names of the arrays in the cache, separated by spaces.
    """

    products: tuple[Product, ...]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    cache: str


@dataclass(frozen=True)
class Counterpart:
    """The equivalent cell in another library.

    Attributes
    ----------
    name : str
        Name of the class or operator, such as ``LSTM``.
    gates : str
        Order of the gates in the other library, in minichar's notation.
    attributes : dict
        Attributes that must be set for the results to be equal.
    """

    name: str
    gates: str
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """The definition of a recurrent cell.

    Attributes
    ----------
    name : str
        Value of ``--model``.
    title : str
        Name in messages.
    states : str
        One letter per state, the hidden state first.
    stages : tuple of Stage
    takes_h_prev : bool
        Whether h_prev is also an argument of ``forward``. The other states always are.
    unit : str
        Value between -1 and 1 that ``inspect --html`` shows for each unit: the name of a state
        or of a cached array.
    shown : str
        Gates, each between 0 and 1, whose distributions ``inspect --html`` shows. If the cell
        has no gates, the same as `unit`.
    biases : dict of str to float
        Initial bias of each gate whose bias is not random.
    torch, onnx : Counterpart, optional
        None if the library has no equivalent cell.
    variant : bool
        Whether the cell is selected by an option other than ``--model``, such as ``--gru-reset``.
    """

    name: str
    title: str
    states: str
    stages: tuple[Stage, ...]
    takes_h_prev: bool = False
    unit: str = "h"
    shown: str = ""
    biases: Mapping[str, float] = field(default_factory=dict)
    torch: Counterpart | None = None
    onnx: Counterpart | None = None
    variant: bool = False

    @property
    def products(self) -> tuple[Product, ...]:
        """The matrix products of all stages."""
        return tuple(product for stage in self.stages for product in stage.products)

    def input_rows(self, H: int) -> Iterator[tuple[Product, slice]]:
        """Yield each matrix product with input x, and its rows in ``Wx``."""
        start = 0
        for product in self.products:
            if product.reads_x:
                rows = len(product.gates) * H
                yield product, slice(start, start + rows)
                start += rows

    def shapes(self, H: int, D: int, V: int) -> Shapes:
        """Return the name and shape of each parameter in a layer with H units and D inputs.

        The inputs of the first layer are characters, so D is 0 and ``Wx`` has one column for
        each of the V characters.
        """
        shapes: Shapes = {}
        for product in self.products:
            columns = H * product.reads_state + D * product.reads_x + 1
            shapes[product.name] = (len(product.gates) * H, columns)
        if D == 0:
            shapes["Wx"] = (sum(len(product.gates) * H for product in self.products if product.reads_x), V)
        return shapes


CELLS: dict[str, Cell] = {}
"""All registered cells by name."""


def models() -> list[str]:
    """Return the valid values of ``--model``."""
    return [name for name, cell in CELLS.items() if not cell.variant]


def register(cell: Cell) -> Cell:
    """Register a cell as a value of ``--model``, and return the cell.

    Raises
    ------
    MinicharError
        If a different cell with the same name is registered.
    """
    if CELLS.setdefault(cell.name, cell) is not cell:
        raise MinicharError(f"a cell named {cell.name!r} is already registered: choose another name")
    return cell
