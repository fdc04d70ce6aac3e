"""Tests for state resets within a chunk, at the boundary between two documents."""

import numpy as np
import pytest
from cells import ODD

from minichar.engine.config import Config
from minichar.engine.gradcheck import toy_network
from minichar.engine.network import Network
from minichar.engine.registry import CELLS

T, B, V, H = 5, 2, 8, 3


@pytest.fixture(params=[*CELLS, ODD.name])
def network(request, monkeypatch, generator):
    """Return a network with each cell, including `ODD`, which has three states."""
    monkeypatch.setitem(CELLS, ODD.name, ODD)
    return toy_network(Config(V, request.param, rnn_size=H, num_layers=2), T, B, generator)


def test_a_column_after_a_reset_equals_an_independent_sequence(network, generator):
    """All states must be bitwise equal."""
    inputs = generator.integers(V, size=(T, B))
    starts = (2, 4)  # one per column
    state_mask = np.ones((T, B), bool)
    state_mask[starts, range(B)] = False
    network.set_state_mask(state_mask)
    network.forward(inputs)
    for b, start in enumerate(starts):
        fresh = Network(network.config, network.parameters, T, B)
        fresh.forward(inputs[start:], T - start)
        for layer, other in zip(network.layers, fresh.layers, strict=True):
            assert layer.states[start][0][:, b].all()  # the state after the step before is kept
            for t in range(T - start):
                for state, wanted in zip(layer.states[start + t + 1], other.states[t + 1], strict=True):
                    np.testing.assert_array_equal(state[:, b], wanted[:, b])


def test_a_chunk_without_resets_is_bitwise_the_same_as_before(network, generator):
    """If a chunk contains no separator, ``reset_on`` does not change the training step."""
    inputs, targets = generator.integers(V, size=(2, T, B))
    network.loss_and_gradient(inputs, targets)
    gradient = network.gradient.flat.copy()
    network.set_state_mask(np.ones((T, B), bool))
    network.loss_and_gradient(inputs, targets)
    np.testing.assert_array_equal(network.gradient.flat, gradient)


def test_the_array_has_a_fixed_address_and_is_on_the_device(backend, host):
    """A captured step reads the array's current values at each replay."""
    network = toy_network(Config(V, "rnn", H, 1), T, B, np.random.default_rng(1), backend)
    STATE_MASK = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]], bool)
    network.set_state_mask(STATE_MASK)
    state_mask = network.state_mask
    network.set_state_mask(STATE_MASK[::-1][:3])
    assert network.state_mask is state_mask
    np.testing.assert_array_equal(host(state_mask), np.concatenate([STATE_MASK[::-1][:3], STATE_MASK[3:]]))
    assert state_mask.dtype == network.parameters.dtype
