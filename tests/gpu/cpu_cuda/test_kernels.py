"""CuPy makes one kernel of each cell function, and the compiled kernel computes what NumPy computes."""

import numpy as np
import pytest
from cells import ODD, B, H, arguments_of

from minichar.devices.cpu import CPU
from minichar.engine.registry import CELLS

STAGES = [
    pytest.param(cell, number, way, id=f"{cell.name}-{number}-{way}")
    for cell in (*CELLS.values(), ODD)
    for number in range(len(cell.stages))
    for way in ("forward", "backward")
]


def on(gpu, value):
    """Copy an array, or each array of a tuple, to the GPU."""
    return tuple(on(gpu, item) for item in value) if isinstance(value, tuple) else gpu.to_device(value)


def flat(gpu, values):
    """Return the arrays in a list of arrays and tuples of arrays, on the host."""
    for value in values:
        if isinstance(value, tuple):
            yield from flat(gpu, value)
        else:
            yield gpu.to_host(value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cell", "number", "way"), STAGES)
def test_one_kernel_computes_the_results_and_writes_them_to_other_arrays(
    cell, number, way, dtype, gpu, cuda, generator
):
    stage = cell.stages[number]
    function, arguments = getattr(stage, way), arguments_of(cell, number, generator, dtype)
    written = [0]
    if way == "backward":
        *results, cache = stage.forward(np, *arguments)
        arguments = [*generator.normal(size=(len(results), *results[0].shape)).astype(dtype), cache]
        written = list(range(len(stage.products)))
    wanted, fused = function(np, *arguments), gpu.fuse(function)
    there = [on(gpu, argument) for argument in arguments]
    close = {"rtol": 1e-13 if dtype == "float64" else 1e-5, "atol": 1e-15 if dtype == "float64" else 1e-6}
    for into in ([], [(k, gpu.zeros(np.reshape(wanted[k], (-1, B)).shape, dtype)) for k in written]):
        gpu.to_host(there[0][0])  # all earlier work has run
        cuda.operations()
        found = fused(*there, into=into)
        launched = cuda.operations()
        assert [count for kind, count in launched.items() if kind.startswith("kernel")] == [1]
        for one, other in zip(flat(gpu, found), flat(CPU, wanted), strict=True):
            assert (one.dtype, one.shape) == (dtype, (H, B))
            np.testing.assert_allclose(one, other, **close)
        for k, out in into:
            np.testing.assert_allclose(gpu.to_host(out), np.reshape(wanted[k], (-1, B)), **close)
