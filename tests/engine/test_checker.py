"""Tests that the gradient check detects wrong gradients, and that both of its methods are accurate."""

import numpy as np
import pytest
from directional import directional_error

from minichar.engine.config import Config
from minichar.engine.gradcheck import (
    CENTRAL_LIMIT,
    COMPLEX_LIMIT,
    Row,
    check_network,
    loss_of,
    relative_error,
    toy_network,
)
from minichar.engine.network import Network

T, B, V, H = 3, 2, 8, 3


@pytest.fixture
def toy(generator):
    """Return ``(network, feed, targets)`` for a network with dropout."""
    network = toy_network(Config(V, "rnn", rnn_size=H, num_layers=1, dropout=0.4), T, B, generator)
    return network, *generator.integers(V, size=(2, T, B))  # each (T, B)


def spoil(monkeypatch, names, change):
    """Patch the backward pass to corrupt the median-magnitude element of each named gradient."""
    right = Network.backward

    def wrong(network):
        right(network)
        for name in names:
            g = network.gradient[name].reshape(-1)  # a view
            order = np.argsort(abs(g))
            position = order[(np.count_nonzero(g == 0) + g.size) // 2]  # the median of the nonzero elements
            g[position] = change(g[position])

    monkeypatch.setattr(Network, "backward", wrong)


def test_a_right_gradient_passes_and_nothing_is_changed(toy):
    network, feed, targets = toy
    before = network.parameters.flat.copy(), network.state, network.masks[0].copy()
    rows = check_network(network, feed, targets)
    assert all(row.passed for row in rows)
    assert {row.name: row.shape for row in rows} == network.config.shapes()
    after = network.parameters.flat, network.state, network.masks[0]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("error", [1e-6, 1e-10])
def test_a_small_relative_error_in_one_element_of_every_parameter_fails(error, toy, monkeypatch):
    """Only the complex step detects an error of 1e-10."""
    network, feed, targets = toy
    spoil(monkeypatch, network.config.shapes(), lambda g: g * (1 + error))
    assert not any(row.passed for row in check_network(network, feed, targets))


@pytest.mark.parametrize("change", [lambda g: -g, lambda g: float("nan")], ids=["sign", "nan"])
def test_only_the_parameter_with_the_wrong_gradient_fails(change, toy, monkeypatch):
    network, feed, targets = toy
    spoil(monkeypatch, ["layer1.W"], change)
    rows = check_network(network, feed, targets)
    assert [row.name for row in rows if not row.passed] == ["layer1.W"]


def test_the_directional_check_detects_a_relative_error_of_1e_6(toy, generator, monkeypatch):
    network, feed, targets = toy
    direction = generator.normal(size=network.parameters.size)  # (size,)
    assert directional_error(network, feed, targets, direction) <= COMPLEX_LIMIT
    for bad in (float("nan"), float("inf")):
        with monkeypatch.context() as patch:
            spoil(patch, ["layer1.W"], lambda g, bad=bad: bad)
            assert not directional_error(network, feed, targets, direction) <= COMPLEX_LIMIT
    right = Network.backward

    def wrong(network):
        right(network)
        network.gradient.flat[...] *= 1 - 1e-6

    monkeypatch.setattr(Network, "backward", wrong)
    assert directional_error(network, feed, targets, direction) == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize(
    ("complex_error", "central_error", "passed"),
    [
        (COMPLEX_LIMIT, CENTRAL_LIMIT, True),
        (2 * COMPLEX_LIMIT, 0.0, False),
        (0.0, 2 * CENTRAL_LIMIT, False),
        (float("nan"), 0.0, False),
        (0.0, float("inf"), False),
    ],
)
def test_a_row_passes_only_if_both_errors_are_within_their_limits(complex_error, central_error, passed):
    assert Row("W", (1,), complex_error, central_error).passed == passed


def test_the_loss_function_does_not_change_when_the_network_runs(toy):
    network, feed, targets = toy
    network.loss_and_gradient(feed, targets)
    loss, theta = loss_of(network, "float64", targets), network.parameters.flat
    before = loss(theta)
    network.carry()
    network.run((network.fed + 1) % V)
    assert loss(theta) == before


@pytest.mark.parametrize(
    ("one", "other", "error"),
    [
        ([1.0, -3.0], [1.5, -4.0], 0.25),  # the largest difference divided by the largest entry
        ([2.0], [-2.0], 2.0),
        ([0.0], [0.0], 0.0),
        ([0.0, 1e-9], [0.0, 0.0], float("inf")),
    ],
)
def test_the_relative_error(one, other, error):
    assert relative_error(np.array(one), np.array(other)) == error
