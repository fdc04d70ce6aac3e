"""Compile each element-wise function that also uses means over the units into one kernel.

A kernel computes several calls at the same time, each in its own blocks of threads.

A function is called once with a `Value` in place of each array. Each operation adds one line of CUDA C, which
computes the value for the N units of a thread. The threads of a block share the units of one gate and
`tile` sequences, and add up their sums in shared memory.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain, count
from types import ModuleType
from typing import Any

import numpy as np

from minichar.devices.backend import Array, Function
from minichar.devices.elementwise import Symbol

THREADS = 256
"""Maximum number of threads in a block, so that each can use the maximum of 255 registers."""
UNITS = 8
"""Preferred maximum of N, so that the values of a thread fit into its registers."""

MEAN = """
template <typename T>
__device__ void mean(const T (&a)[N], T (&result)[N]) {
    __shared__ double2 memory[ROWS * TILE];  // complex numbers are not allowed in shared memory
    T* sums = reinterpret_cast<T*>(memory);
    const int thread = threadIdx.x, row = thread / TILE;
    T sum(0);
    for (int k = 0; k < N; k++) if (row + k * ROWS < H) sum += a[k];
    __syncthreads();  // until all threads have read the result of an earlier mean
    sums[thread] = sum;
    for (int half = ROWS / 2; half; half /= 2) {
        __syncthreads();
        if (row < half) sums[thread] += sums[thread + half * TILE];
    }
    __syncthreads();
    for (int k = 0; k < N; k++) result[k] = sums[thread % TILE] / T(H);
}
"""

BODY = """
const int row = threadIdx.x / TILE;
const ptrdiff_t B = in0_0.shape()[2], tiles = (B + TILE - 1) / TILE;
const ptrdiff_t b = blockIdx.x % tiles * TILE + threadIdx.x % TILE;
ptrdiff_t gate = blockIdx.x / tiles;
auto compute = [&]({parameters}) {{
{lines}
}};
"""
CALL = """
if (gate < {0}.shape()[0]) {{ compute({1}); return; }}
gate -= {0}.shape()[0];
"""
"""A call of the function. Without ``return``, the kernel for a large H would spill registers."""
LOAD = """for (int k = 0; k < N; k++) {{
    const ptrdiff_t unit = row + k * ROWS, at[] = {{gate, {array}.shape()[1] == 1 ? 0 : unit, b}};
    if (unit < H && b < B) {value}[k] = {array}[at];
}}"""
STORE = """for (int k = 0; k < N; k++) {{
    const ptrdiff_t unit = row + k * ROWS, at[] = {{gate, unit, b}};
    if (unit < {array}.shape()[1] && b < B) {array}[at] = {value}[k];
}}"""


class Value(Symbol):
    """The values of an array for the units of one thread, as lines of CUDA C.

    Attributes
    ----------
    same : bool
        Whether the values are the same for all units of a gate and sequence.
    """

    def __init__(self, lines: list[str], same: bool) -> None:
        self.lines, self.same, self.name = lines, same, f"v{len(lines)}"
        lines.append(f"T {self.name}[N] = {{}};")

    def computed(self, code: str, operands: Sequence[Any]) -> "Value":
        """Return the result of an operation, which is computed for each unit k."""
        result = Value(self.lines, all(getattr(one, "same", True) for one in operands))
        names = (f"{one.name}[k]" if isinstance(one, Value) else f"T({one!r})" for one in operands)
        self.lines.append(f"for (int k = 0; k < N; k++) {result.name}[k] = {code.format(*names)};")
        return result


def mean(value: Value) -> Value:
    """Return the mean over the units."""
    result = Value(value.lines, True)
    value.lines.append(f"mean({value.name}, {result.name});")
    return result


def compile_with_mean(xp: ModuleType, function: Function, H: int) -> Callable[..., list[list[Array]]]:
    """Return a function for `Backend.fuse_with_mean` that runs all its calls as one kernel."""
    tile = next(tile for tile in (8, 4, 2, 1) if tile == 1 or H * tile <= UNITS * THREADS)
    rows = next(rows for k in count() if (rows := 1 << k) >= min(H, THREADS // tile))
    lines: list[str] = []
    arguments = [Value(lines, False) for _ in range(function.__code__.co_argcount - 2)]
    inputs = [f"in{k}" for k in range(len(arguments))]
    for name, value in zip(inputs, arguments, strict=True):
        lines.append(LOAD.format(array=name, value=value.name))
    results = function(np, mean, *arguments)
    outputs = [f"out{k}" for k in range(len(results))]
    for name, value in zip(outputs, results, strict=True):
        lines.append(STORE.format(array=name, value=value.name))
    sizes = {"H": H, "TILE": tile, "ROWS": rows, "N": -(-H // rows)}
    preamble = "".join(f"constexpr int {name} = {size};\n" for name, size in sizes.items()) + MEAN
    parameters = ", ".join(f"auto& {name}" for name in (*inputs, *outputs))
    body = BODY.format(parameters=parameters, lines="\n".join(lines))

    @cache
    def kernel_for(calls: int) -> Function:
        read, written = (
            [[f"{name}_{k}" for name in names] for k in range(calls)] for names in (inputs, outputs)
        )
        return xp.ElementwiseKernel(
            *(", ".join(f"raw T {name}" for name in chain(*names)) for names in (read, written)),
            body + "".join(CALL.format(a[0], ", ".join(a + b)) for a, b in zip(read, written, strict=True)),
            f"{function.__module__.rpartition('.')[2]}_{function.__name__}",
            preamble=preamble,
        )

    def call(*calls: Sequence[Array], out: Sequence[Array] = ()) -> list[list[Array]]:
        gates, (_, _, B), dtype = [len(first) for first, *_ in calls], calls[0][0].shape, calls[0][0].dtype
        made = [[xp.empty((G, 1 if one.same else H, B), dtype) for one in results] for G in gates if not out]
        written = made or [[one] for one in out]
        threads = tile * rows
        size = sum(gates) * -(-B // tile) * threads
        kernel_for(len(calls))(*chain(*calls, *written), size=size, block_size=threads)
        return written

    return call
