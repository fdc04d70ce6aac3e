"""Tests for `Layer`, which applies a cell at every time step, on the CPU."""

import numpy as np
import pytest

from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.config import Config
from minichar.engine.gradcheck import toy_network
from minichar.engine.network import Network
from minichar.engine.registry import CELLS

T, B, V, H = 5, 2, 8, 3


def values_of(cell, generator):
    """Run a layer, and return ``(layer, start, seen)``, where `seen` has copies of each step's values."""
    network = toy_network(Config(V, cell, rnn_size=H, num_layers=1), T, B, generator)
    (layer,) = network.layers
    start = layer.start.copy()
    seen = []
    for t in range(T):
        network.step(t, generator.integers(V, size=B))
        seen.append({name: array.copy() for name, array in layer.values(t).items()})
    return layer, start, seen


def test_the_values_of_a_step_do_not_change_in_later_steps(cell, generator):
    layer, _, seen = values_of(cell, generator)
    for t, values in enumerate(seen):
        np.testing.assert_equal(layer.values(t), values)
        np.testing.assert_array_equal(values["h"], layer.states[t + 1][0])


EQUATIONS = {
    "lstm": lambda v, prev: {
        "h": v["o"] * v["tanh_c"],
        "c": v["f"] * prev["c"] + v["i"] * v["g"],
        "tanh_c": np.tanh(v["c"]),
    },
    "gru": lambda v, prev: {"h": (1 - v["z"]) * v["n"] + v["z"] * prev["h"], "h_prev": prev["h"]},
}


@pytest.mark.parametrize("model", EQUATIONS)
def test_values_are_named_correctly(model, generator):
    """The values satisfy the cell's equations only if no two names are swapped."""
    _, start, seen = values_of(model, generator)
    before = dict(zip("hc", start, strict=False))
    for values in seen:
        for name, wanted in EQUATIONS[model](values, before).items():
            np.testing.assert_allclose(values[name], wanted, rtol=1e-13)
        before = values


def delayed(xp, a, c_prev, m_prev):
    h = xp.tanh(a[0] + 0.5 * m_prev)
    return h, h, c_prev, (h,)  # m is c, delayed by one step


def test_a_cell_can_return_one_of_its_arguments_as_a_new_state(generator, monkeypatch):
    """`Layer.carry` must not overwrite the argument before it is read: single steps equal one chunk."""
    stage = Stage((Product("W", "h"),), delayed, lambda: None, "h")
    monkeypatch.setitem(CELLS, "delay", Cell("delay", "delay line", "hcm", (stage,)))
    network = toy_network(Config(V, "delay", H, 2), T, B, generator)
    ids = generator.integers(V, size=(T, B))
    single = Network(network.config, network.parameters, 1, B)
    single.state = network.state
    whole = network.forward(ids)
    for t in range(T):
        np.testing.assert_allclose(single.step(0, ids[t]), whole[t], rtol=1e-13)
        single.carry()
