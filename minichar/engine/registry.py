"""The registry of cells. A cell's definition is checked when the cell is registered."""

from collections.abc import Sequence
from re import fullmatch

import numpy as np

from minichar.engine.cell import Cell
from minichar.errors import AUTOMATIC, MinicharError, counted

LAYERS = {"RNN", "LSTM", "GRU"}
"""The recurrent layers of PyTorch and the recurrent operators of ONNX."""
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
    """Check a cell's definition.

    Raises
    ------
    MinicharError
        If the name is invalid, a letter is missing or not unique, the products do not meet the requirements
        of `Stage` and `Product`, the cell refers to a gate, state, cached array, PyTorch layer or ONNX
        operator that does not exist, or a forward function returns the wrong number of arrays.
    """
    if not fullmatch(r"[\w-]+", cell.name) or cell.name == AUTOMATIC.flag:  # used in file names
        raise MinicharError(
            f"invalid cell name {cell.name!r}: "
            f"use only letters, digits, '-' and '_', but not {AUTOMATIC.flag!r}"
        )
    check_letters(cell)
    check_products(cell)
    check_references(cell)
    check_forward(cell)


def check_letters(cell: Cell) -> None:
    """Check that there is at least one state, and one gate per product, and that their letters are unique."""
    counterparts = {"torch.gates": cell.torch, "onnx.gates": cell.onnx}
    for what, letters in (
        ("states", cell.states),
        *((f"gates of the product {product.name!r}", product.gates) for product in cell.products),
        *((what, counterpart.gates) for what, counterpart in counterparts.items() if counterpart),
    ):
        if not letters or len({*letters}) < len(letters):
            raise MinicharError(
                f"{what} of the cell {cell.name!r}: {letters!r} must contain at least one letter "
                "and none twice"
            )


def check_products(cell: Cell) -> None:
    """Check that parameter names are unique and exactly one product per stage uses the hidden state."""
    for number, stage in enumerate(cell.stages, 1):
        count = sum(product.reads_state for product in stage.products)
        if count != 1:
            raise MinicharError(
                f"stage {number} of the cell {cell.name!r} has {count} products with reads_state=True; "
                "it must have exactly one"
            )
    names = ["Wx", *(product.name for product in cell.products)]
    for name in names:
        if names.count(name) > 1:
            raise MinicharError(
                f"the cell {cell.name!r} has several parameters named {name!r}; give each product a "
                "unique name other than 'Wx'"
            )


def check_references(cell: Cell) -> None:
    """Raise a `MinicharError` if the cell refers to a gate, state, array or layer that does not exist.

    Without this check, an invalid cell could be trained, but ``convert`` or ``inspect --html`` would fail.
    """
    values = {*cell.states, *(name for stage in cell.stages for name in stage.cache.split())}
    gates = {gate for product in cell.products for gate in product.gates}
    for attribute, names, known in (
        ("unit", {cell.unit}, values),
        ("shown", set(cell.shown), values),
        ("biases", set(cell.biases), gates),
        ("torch.gates", set(cell.torch.gates) if cell.torch else gates, gates),
        ("onnx.gates", set(cell.onnx.gates) if cell.onnx else gates, gates),
        ("torch.name", {cell.torch.name} if cell.torch else set(), LAYERS),
        ("onnx.name", {cell.onnx.name} if cell.onnx else set(), LAYERS),
    ):
        if unknown := sorted(names - known):
            raise MinicharError(
                f"{attribute} of the cell {cell.name!r} contains {unknown[0]!r}; "
                f"it must be one of {', '.join(sorted(known))}"
            )
        if attribute.endswith("gates") and (missing := sorted(gates - names)):
            raise MinicharError(f"{attribute} of the cell {cell.name!r} lacks the gate {missing[0]!r}")


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
