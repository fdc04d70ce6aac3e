"""Cells used by the tests: the registered cells and `ODD`, and a check of their functions on a device.

`ODD` has no practical use. It covers features that the registered cells lack: three states, a first stage
that has two matrix products and passes all its values to a second stage, pre-activations in the caches, and
initial biases in both stages.
"""

import numpy as np
import pytest

from minichar.devices.nesting import flatten
from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.registry import CELLS
from minichar.formats.gates import TORCH

IN_PYTORCH = list(TORCH)
"""Names of the registered cells that PyTorch implements."""


def first(xp, w, r, c_prev, m_prev):
    p = xp.tanh(w[0] + r[0])
    c = c_prev + w[1] * r[1]
    return p * m_prev, c, m_prev, (w[0], r[0], w[1], r[1], m_prev)


def first_backward(xp, ds, dc, dm, cache):
    w_p, r_p, w_q, r_q, m_prev = cache
    p = xp.tanh(w_p + r_p)
    dp = ds * m_prev * (1.0 - p * p)
    return (dp, dc * r_q), (dp, dc * w_q), dc, dm + ds * p


def second(xp, a, c, m):
    h = xp.tanh(a[0] * c)
    return h, c, 0.5 * m + a[0], (a[0], c, h)


def second_backward(xp, dh, dc, dm, cache):
    a_n, c, h = cache
    d = dh * (1.0 - h * h)
    return (d * c + dm,), dc + d * a_n, 0.5 * dm


ODD = Cell(
    name="odd",
    title="odd cell",
    states="hcm",
    stages=(
        Stage(
            (Product("P", "pq", reads_x=False), Product("R", "uv", reads_state=False)),
            first,
            first_backward,
            cache="a_p a_u a_q a_v m_prev",
        ),
        Stage((Product("Wn", "n"),), second, second_backward, cache="a_n c h"),
    ),
    biases={"q": 2.0, "n": -3.0},
)


H, B = 3, 2


def arguments_of(cell, number, generator, dtype="float64"):
    """Return random arguments for a stage: one ``(G, H, B)`` block per matrix product, then the others."""
    passed = len(cell.states) - 1 + cell.takes_h_prev
    for stage in cell.stages[: number + 1]:
        blocks = [generator.normal(size=(len(product.gates), H, B)) for product in stage.products]
        arguments = [*blocks, *generator.uniform(-0.9, 0.9, (passed, H, B))]
        passed = len(stage.forward(np, *arguments)) - 2  # excluding the next product's input and the cache
    return [argument.astype(dtype) for argument in arguments]


STAGES = [(cell, number) for cell in (*CELLS.values(), ODD) for number in range(len(cell.stages))]
FUNCTIONS = [
    pytest.param(cell, number, way, id=f"{cell.name}-{number}-{way}")
    for cell, number in STAGES
    for way in ("forward", "backward")
]
"""The functions of all stages."""


def on(device, value):
    """Copy an array, or each array of a tuple, to a device."""
    return tuple(on(device, item) for item in value) if isinstance(value, tuple) else device.to_device(value)


def check_function(device, cell, number, way, generator, launches, elsewhere=True):
    """Check that a fused function computes what NumPy computes with one kernel, and also writes it elsewhere.

    ``launches()`` returns the number of kernels since the last call.
    """
    dtype = "float32" if way == "forward" else "float64"
    stage = cell.stages[number]
    function, arguments = getattr(stage, way), arguments_of(cell, number, generator, dtype)
    written = [0, 0]
    if way == "backward":
        *results, cache = stage.forward(np, *arguments)
        arguments = [*generator.normal(size=(len(results), *results[0].shape)).astype(dtype), cache]
        written = list(range(len(stage.products)))
    wanted, there = function(np, *arguments), [on(device, argument) for argument in arguments]
    wide = [np.reshape(wanted[k], (-1, B)) for k in written if elsewhere]
    into = [(k, device.zeros(array.shape, dtype)) for k, array in zip(written, wide, strict=False)]
    launches()
    found = device.fuse(function)(*there, into=into)
    assert launches() == 1
    close = dict.fromkeys(("rtol", "atol"), 10 * np.finfo(dtype).eps)
    for one, other in zip(flatten(found), flatten(wanted), strict=True):
        assert (one.dtype, one.shape) == (dtype, (H, B))
        np.testing.assert_allclose(device.to_host(one), other, **close)
    for (_, out), array in zip(into, wide, strict=True):
        np.testing.assert_allclose(device.to_host(out), array, **close)
