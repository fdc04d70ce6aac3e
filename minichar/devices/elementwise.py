"""Translate pure element-wise functions to OpenCL C, so that each call launches one kernel.

The function is called once, with NumPy as `xp` and with symbols instead of arrays. Each operation on a
symbol adds a line of code:

    1.0 - a * a          const real v1 = v0 * v0;
                         const real v2 = (real)1.0 - v1;

A function that needs the values or shapes of its arguments cannot be translated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from minichar.devices.backend import Array, Function
from minichar.devices.nesting import Nesting, flatten, nest, nesting_of

OPERATIONS = {
    np.add: "{} + {}",
    np.subtract: "{} - {}",
    np.multiply: "{} * {}",
    np.divide: "{} / {}",
    np.negative: "-{}",
    np.less: "{} < {}",
    np.less_equal: "{} <= {}",
    np.greater: "{} > {}",
    np.greater_equal: "{} >= {}",
} | {f: f"{f.__name__}({{}})" for f in (np.exp, np.expm1, np.log, np.log1p, np.sqrt, np.tanh)}
"""The operations in C. A comparison evaluates to 1 or 0."""


@dataclass(frozen=True)
class Place:
    """Where a result is stored: in one of the kernel's arrays, or in its part with the index `part`."""

    array: int
    part: int | slice | None = None

    def find(self, arrays: Sequence[Array]) -> Array:
        """Return the result."""
        array = arrays[self.array]
        return array if self.part is None else array[self.part]


@dataclass(frozen=True)
class Kernel:
    """A translated function.

    The kernel's arrays are the function's arguments, the arrays to which results are also written, and a new
    array for each result that is in none of these.
    """

    source: str  # in the form that `minichar.devices.opencl.DpnpBackend.launch` expects
    places: list[Place]  # of the results
    nesting: Nesting  # structure of the results
    new: int  # number of new arrays


class Symbol(NDArrayOperatorsMixin):
    """A variable in the code of a kernel."""

    def __init__(self, lines: list[str], code: str) -> None:
        self.lines, self.name = lines, f"v{len(lines)}"
        lines.append(f"const real {self.name} = {code};")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *operands: Any, **options: Any) -> "Symbol":
        if method != "__call__" or options or ufunc not in OPERATIONS:
            raise TypeError(f"{ufunc.__name__} cannot be translated")
        return self.computed(OPERATIONS[ufunc], operands)

    def computed(self, code: str, operands: Sequence[Any]) -> "Symbol":
        """Return the value of an expression, in which ``{}`` stands for each operand."""
        names = (value.name if isinstance(value, Symbol) else f"(real){float(value)!r}" for value in operands)
        return Symbol(self.lines, code.format(*names))

    def __array_function__(self, function: Function, *_: Any) -> None:
        raise TypeError(f"{function.__name__} cannot be translated")

    def __bool__(self) -> bool:
        raise TypeError("a condition cannot be translated")


class Code:
    """The code of a kernel."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.arrays = 0  # number of arrays so far
        self.places: dict[int, Place] = {}  # of each symbol that is in an array, keyed by its ``id``

    def load(self, blocks: int | None) -> Any:
        """Load an argument. Return a symbol or, if the argument is a block, a tuple of symbols."""
        symbols = [Symbol(self.lines, f"a{self.arrays}[{g} * n]") for g in range(blocks or 1)]
        for g, symbol in enumerate(symbols):
            self.places[id(symbol)] = Place(self.arrays, None if blocks is None else g)
        self.arrays += 1
        return symbols[0] if blocks is None else tuple(symbols)

    def store(self, symbols: Sequence[Symbol]) -> int:
        """Store symbols in the next array. Return the number of the array."""
        self.lines += [f"a{self.arrays}[{g} * n] = {symbol.name};" for g, symbol in enumerate(symbols)]
        self.arrays += 1
        return self.arrays - 1

    def __str__(self) -> str:
        arguments = ", ".join(f"__global real *a{k}, ulong first{k}" for k in range(self.arrays))
        offsets = [f"a{k} += first{k} + get_global_id(0);" for k in range(self.arrays)]
        body = "\n    ".join(["const size_t n = get_global_size(0);", *offsets, *self.lines])
        # NumPy rounds each product, so do not contract products and sums.
        return f"#pragma OPENCL FP_CONTRACT OFF\n__kernel void run({arguments}) {{\n    {body}\n}}\n"


def translate(function: Function, arguments: Sequence[Any], written: Sequence[int], rows: int) -> Kernel:
    """Translate ``function(xp, *arguments)``, with the argument ``into`` of `Backend.fuse`.

    Parameters
    ----------
    arguments : sequence
        For each argument, the number of arrays in a block, or None for a single array; or a tuple of these.
    written : sequence of int
        The index of each result that is also written to another array.
    rows : int
        Number of rows H of each array.

    Raises
    ------
    TypeError, AttributeError
        If the function cannot be translated.
    """
    code = Code()
    values = nest(nesting_of(arguments), map(code.load, flatten(arguments)))
    results = list(function(np, *values))
    for k in written:
        array = code.store(list(flatten([results[k]])))
        for g, symbol in enumerate(results[k] if isinstance(results[k], tuple) else ()):
            code.places.setdefault(id(symbol), Place(array, slice(g * rows, (g + 1) * rows)))
    before = code.arrays
    for symbol in flatten(results):
        if id(symbol) not in code.places:
            code.places[id(symbol)] = Place(code.store([symbol]))
    places = [code.places[id(symbol)] for symbol in flatten(results)]
    return Kernel(str(code), places, nesting_of(results), code.arrays - before)
