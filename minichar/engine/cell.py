"""What a recurrent cell declares about itself, and the registry that the rest of minichar reads.

A cell is a pair of pure functions over one time step: ``forward`` and, below it, ``backward``.
The products of weights and inputs around them are computed by `minichar.engine.layer`:

    a = W @ [h_prev; x; 1]                      one `Product`: its name, its gates, what it reads
    h, c, cache = forward(xp, a, c_prev)        a has one array ``(H, B)`` per gate
    da, dc_prev = backward(xp, dh, dc, cache)   da is a tuple of such arrays

A cell with a second product between the two has two such pairs, each a `Stage`. The first returns
what the second product reads, then everything else the second stage needs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from minichar.engine.parameters import Shapes
from minichar.errors import MinicharError


@dataclass(frozen=True)
class Product:
    """``W @ [state; x; 1]``, a block of H rows for each gate.

    Attributes
    ----------
    name : str
        The parameter: ``W``, ``U``, …
    gates : str
        The gates in the order of their rows, one letter each.
    reads_state, reads_x : bool
        Whether it multiplies the hidden state (in a second stage: what the first stage returns),
        and the layer's input.
    """

    name: str
    gates: str
    reads_state: bool = True
    reads_x: bool = True


@dataclass(frozen=True)
class Stage:
    """Products, and the pair of functions that continues from their results.

    Attributes
    ----------
    products : tuple of Product
        Exactly one of them reads the state.
    forward : callable
        ``forward(xp, *a, *passed) -> *results, cache``: what each product gives, then
        what is passed in: the states before the step, or the results of the stage before.
    backward : callable
        ``backward(xp, *dresults, cache) -> *da, *dpassed``.
    cache : str
        The names of the arrays in the cache, in order.
    """

    products: tuple[Product, ...]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    cache: str


@dataclass(frozen=True)
class Counterpart:
    """The same cell in another library.

    Attributes
    ----------
    name : str
        The class or operator: ``LSTM``.
    gates : str
        The order of its rows, in our letters.
    attributes : dict
        What else must be set so that it computes the same.
    """

    name: str
    gates: str
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """Everything the rest of minichar needs to know about a cell.

    Attributes
    ----------
    name : str
        Its name as a ``--model``.
    title : str
        Its name in a sentence.
    states : str
        Its states, one letter each, the hidden state first.
    stages : tuple of Stage
    takes_h_prev : bool
        Whether ``forward`` takes h_prev itself, in addition to the product that reads it. It
        always takes the other states.
    unit : str
        The value between -1 and 1 that ``inspect --html`` shows for each unit: the name of a
        state or of an array in a cache.
    shown : str
        The gates whose distributions it shows, each between 0 and 1; or the unit, if none is.
    biases : dict of str to float
        Initial biases by gate, where they are not drawn at random.
    torch, onnx : Counterpart, optional
        None where the library has no such cell.
    variant : bool
        Whether an option other than ``--model`` selects it, as ``--gru-reset`` does.
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
        """The products of all stages."""
        return tuple(product for stage in self.stages for product in stage.products)

    def input_rows(self, H: int) -> Iterator[tuple[Product, slice]]:
        """Yield each product that reads x with its rows of ``Wx``."""
        start = 0
        for product in self.products:
            if product.reads_x:
                rows = len(product.gates) * H
                yield product, slice(start, start + rows)
                start += rows

    def shapes(self, H: int, D: int, V: int) -> Shapes:
        """Return name and shape of each parameter of a layer with H units and D inputs.

        The first layer reads characters instead: its D is 0, and ``Wx`` has a column for each
        of the V characters.
        """
        shapes: Shapes = {}
        for product in self.products:
            columns = H * product.reads_state + D * product.reads_x + 1
            shapes[product.name] = (len(product.gates) * H, columns)
        if D == 0:
            shapes["Wx"] = (sum(len(product.gates) * H for product in self.products if product.reads_x), V)
        return shapes


CELLS: dict[str, Cell] = {}
"""Every registered cell by name."""


def models() -> list[str]:
    """Return the names that ``--model`` takes."""
    return [name for name, cell in CELLS.items() if not cell.variant]


def register(cell: Cell) -> Cell:
    """Make a cell available as a ``--model`` everywhere; return it.

    Raises
    ------
    MinicharError
        If another cell has that name.
    """
    if CELLS.setdefault(cell.name, cell) is not cell:
        raise MinicharError(f"a cell called {cell.name!r} is registered already: choose another name")
    return cell
