"""The registry of cells. A cell's definition is checked when the cell is registered."""

from collections.abc import Sequence
from re import fullmatch

import numpy as np

from minichar.engine.cell import Cell
from minichar.errors import AUTOMATIC, MinicharError, counted

CELLS: dict[str, Cell] = {}
"""All registered cells, keyed by name: the values of ``--model``."""


def register(cell: Cell) -> Cell:
    """Register a cell so that ``--model`` accepts its name, and return the cell.

    Raises
    ------
    MinicharError
        If the definition is invalid (`check_cell`), or a different cell already has this name.
    """
    check_cell(cell)
    if CELLS.setdefault(cell.name, cell) is not cell:
        raise MinicharError(f"a cell named {cell.name!r} is already registered: choose another name")
    return cell


def check_cell(cell: Cell) -> None:
    """Check a cell's definition, and raise a `MinicharError` if it is invalid."""
    if not fullmatch(r"[\w-]+", cell.name) or cell.name == AUTOMATIC.flag:  # used in file names
        raise MinicharError(
            f"invalid cell name {cell.name!r}: "
            f"use only letters, digits, '-' and '_', but not {AUTOMATIC.flag!r}"
        )
    check_letters(cell)
    check_products(cell)
    check_forward(cell)


def check_letters(cell: Cell) -> None:
    """Check that the states and the gates of each product have at least one letter and no duplicates."""
    for what, letters in (
        ("states", cell.states),
        *((f"gates of the product {product.name!r}", product.gates) for product in cell.products),
    ):
        if not letters or len({*letters}) < len(letters):
            raise MinicharError(
                f"{what} of the cell {cell.name!r}: {letters!r} must contain at least one letter "
                "and no duplicates"
            )


def check_products(cell: Cell) -> None:
    """Check names, biases, and that exactly one product per stage uses the hidden state."""
    for number, stage in enumerate(cell.stages, 1):
        count = sum(product.reads_state for product in stage.products)
        if count != 1:
            raise MinicharError(
                f"stage {number} of the cell {cell.name!r} has {count} products with reads_state=True; "
                "it must have exactly one"
            )
    gates = {gate for product in cell.products for gate in product.gates}
    if unknown := sorted(cell.biases.keys() - gates):
        raise MinicharError(
            f"biases of the cell {cell.name!r} contains {unknown[0]!r}; "
            f"it must be one of {', '.join(sorted(gates))}"
        )
    names = ["Wx", *(product.name for product in cell.products)]
    for name in names:
        if names.count(name) > 1:
            raise MinicharError(
                f"the cell {cell.name!r} has multiple parameters named {name!r}; give each product a "
                "unique name other than 'Wx'"
            )


@np.errstate(all="ignore")  # the values do not matter
def check_forward(cell: Cell) -> None:
    """Run the forward functions on zeros, and check the numbers of states and cached arrays.

    An exception in a forward function is not caught, because its traceback shows the line to fix.
    """
    state = np.zeros((48, 2))  # (H, B); H is divisible by many numbers, in case a cell splits the units
    passed = [state] * (len(cell.states) - 1 + cell.takes_h_prev)
    for number, stage in enumerate(cell.stages, 1):
        a = [np.zeros((len(product.gates), *state.shape)) for product in stage.products]  # (gates, H, B)
        results = stage.forward(np, *a, *passed)
        if not isinstance(results, Sequence) or len(results) < 2 or not isinstance(results[-1], Sequence):
            raise MinicharError(
                f"the forward function of stage {number} of the cell {cell.name!r} must return a tuple "
                "that ends with a tuple of cached arrays"
            )
        _, *passed, cache = results
        names = stage.cache.split()
        if len(cache) != len(names):
            raise MinicharError(
                f"stage {number} of the cell {cell.name!r} caches {counted(len(cache), 'array')}, "
                f"but `cache` contains {counted(len(names), 'name')}"
            )
    if 1 + len(passed) != len(cell.states):
        raise MinicharError(
            f"the cell {cell.name!r} returns {counted(1 + len(passed), 'state')}, but `states` has "
            f"{len(cell.states)}"
        )
