"""The registry of cells. A cell's definition is checked when the cell is registered."""

from collections.abc import Iterator, Sequence
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
        If the definition is invalid, or a different cell already has this name.
    """
    if problem := next(problems(cell), None):
        raise MinicharError(problem)
    if CELLS.setdefault(cell.name, cell) is not cell:
        raise MinicharError(f"a cell named {cell.name!r} is already registered: choose another name")
    return cell


def problems(cell: Cell) -> Iterator[str]:
    """Yield the problems of a cell's definition. Its functions run only after all other checks."""
    if not fullmatch(r"[\w-]+", cell.name) or cell.name == AUTOMATIC.flag:  # used in file names
        yield (
            f"invalid cell name {cell.name!r}: "
            f"use only letters, digits, '-' and '_', but not {AUTOMATIC.flag!r}"
        )
    named = [(f"gates of the product {product.name!r}", product.gates) for product in cell.products]
    for what, letters in [("states", cell.states), *named]:
        if not letters or len({*letters}) < len(letters):
            yield (
                f"{what} of the cell {cell.name!r}: {letters!r} must contain at least one letter "
                "and no duplicates"
            )
    for number, stage in enumerate(cell.stages, 1):
        count = sum(product.reads_state for product in stage.products)
        if count != 1:
            yield (
                f"stage {number} of the cell {cell.name!r} has {count} products with reads_state=True; "
                "it must have exactly one"
            )
    gates = {gate for product in cell.products for gate in product.gates}
    for gate in sorted(cell.biases.keys() - gates):
        yield (
            f"biases of the cell {cell.name!r} contains {gate!r}; "
            f"it must be one of {', '.join(sorted(gates))}"
        )
    names = ["Wx", *(product.name for product in cell.products)]
    for name in names:
        if names.count(name) > 1:
            yield (
                f"the cell {cell.name!r} has multiple parameters named {name!r}; give each product a "
                "unique name other than 'Wx'"
            )
    yield from problems_of_results(cell)


def problems_of_results(cell: Cell) -> Iterator[str]:
    """Run the forward functions on zeros, and yield wrong numbers of states and cached arrays.

    An exception in a forward function is not caught, because its traceback shows the line to fix.
    """
    state = np.zeros((48, 2))  # (H, B); H is divisible by many numbers, in case a cell splits the units
    passed = [state] * (len(cell.states) - 1 + cell.takes_h_prev)
    for number, stage in enumerate(cell.stages, 1):
        a = [np.zeros((len(product.gates), *state.shape)) for product in stage.products]  # (gates, H, B)
        with np.errstate(all="ignore"):  # the values do not matter
            results = stage.forward(np, *a, *passed)
        if not isinstance(results, Sequence) or len(results) < 2 or not isinstance(results[-1], Sequence):
            yield (
                f"the forward function of stage {number} of the cell {cell.name!r} must return a tuple "
                "that ends with a tuple of cached arrays"
            )
        _, *passed, cache = results
        names = stage.cache.split()
        if len(cache) != len(names):
            yield (
                f"stage {number} of the cell {cell.name!r} caches {counted(len(cache), 'array')}, "
                f"but `cache` contains {counted(len(names), 'name')}"
            )
    if 1 + len(passed) != len(cell.states):
        yield (
            f"the cell {cell.name!r} returns {counted(1 + len(passed), 'state')}, but `states` has "
            f"{len(cell.states)}"
        )
