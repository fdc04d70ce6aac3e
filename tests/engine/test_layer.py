"""A cell over time, on the CPU."""

import numpy as np
import pytest
from cells import ODD

from minichar.engine.cell import CELLS
from minichar.engine.config import Config, initialise
from minichar.engine.gradcheck import check_network, toy_network
from minichar.engine.network import teacher_forcing
from minichar.engine.parameters import Parameters

T, B, V, H = 5, 2, 8, 3


@pytest.fixture
def odd(monkeypatch):
    """The configuration of a network of odd cells."""
    monkeypatch.setitem(CELLS, ODD.name, ODD)
    return Config(V, ODD.name, H, 2, dropout=0.4)


def test_a_cell_with_everything_has_the_right_gradient(odd, generator):
    """Pre-activations in its cache are still there in the backward pass."""
    network = toy_network(odd, 3, B, generator)
    inputs, targets = generator.integers(V, size=(2, 3, B))
    rows = check_network(network, teacher_forcing(inputs), targets)
    assert len(rows) == 4 + 3 + 1
    assert all(row.passed for row in rows), rows


def test_biases_begin_where_the_cell_declares_them(odd):
    parameters = Parameters(odd.shapes(), "float64")
    initialise(odd, parameters, np.random.default_rng(1))
    for layer in ("layer1.", "layer2."):
        P, R, Wn = (parameters[layer + name] for name in ("P", "R", "Wn"))
        np.testing.assert_array_equal(P[:, -1] == 2.0, [False] * H + [True] * H)  # gates p q
        np.testing.assert_array_equal(Wn[:, -1] == -3.0, [True] * H)
        for drawn in (P[:, :-1], R, Wn[:, :-1], P[:H]):
            assert abs(drawn).max() <= 0.08


def values_of(cell, generator):
    """Run a layer; return each step's values as they were right after it, and the layer."""
    network = toy_network(Config(V, **cell, rnn_size=H, num_layers=1), T, B, generator)
    (layer,) = network.layers
    start = layer.start.copy()
    seen = []
    for t in range(T):
        network.advance(t, generator.integers(V, size=B))
        seen.append({name: array.copy() for name, array in layer.values(t).items()})
    return layer, start, seen


def test_its_values_are_those_of_their_step_also_after_later_steps(cell, generator):
    layer, _, seen = values_of(cell, generator)
    for t, values in enumerate(seen):
        assert list(layer.values(t)) == list(values)
        for name, array in layer.values(t).items():
            np.testing.assert_array_equal(array, values[name])
        np.testing.assert_array_equal(values["h"], layer.states[t + 1][0])
    assert len({values["h"].tobytes() for values in seen}) == T


EQUATIONS = {
    "lstm": lambda v, prev: {
        "h": v["o"] * v["tanh_c"],
        "c": v["f"] * prev["c"] + v["i"] * v["g"],
        "tanh_c": np.tanh(v["c"]),
    },
    "gru": lambda v, prev: {"h": (1 - v["z"]) * v["n"] + v["z"] * prev["h"], "h_prev": prev["h"]},
}


@pytest.mark.parametrize("model", EQUATIONS)
def test_each_value_has_its_own_name(model, generator):
    """By the equations of the cell: two names that were exchanged would break them."""
    _, start, seen = values_of({"model": model}, generator)
    before = dict(zip("hc", start, strict=False))
    for values in seen:
        for name, wanted in EQUATIONS[model](values, before).items():
            np.testing.assert_allclose(values[name], wanted, rtol=1e-13)
        before = values
