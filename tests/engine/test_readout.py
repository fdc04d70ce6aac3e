"""Tests for the readout and its loss, which are computed block by block."""

import numpy as np
import pytest

from minichar.engine import readout
from minichar.engine.config import Config
from minichar.engine.gradcheck import toy_network
from minichar.engine.network import Network
from minichar.engine.readout import loss_backward, loss_forward

T, B, V, H = 5, 3, 7, 4


@pytest.fixture
def network(backend, generator):
    return toy_network(Config(V, "gru", H, 1), T, B, generator, backend)


@pytest.fixture
def text(backend, generator):
    return backend.to_device(generator.integers(V, size=(2, T, B)))  # inputs and targets, each (T, B)


@pytest.mark.parametrize("steps", [1, 2])
def test_loss_and_gradient_do_not_depend_on_the_block_size(steps, network, text, host, monkeypatch):
    inputs, targets = text
    monkeypatch.setattr(readout, "BLOCK", steps * V * B + 1)
    blocks = Network(network.config, network.parameters, T, B)
    blocks.state = network.state
    assert blocks.readout.block == steps
    for n in (T, 4):
        wanted = float(host(network.loss_and_gradient(inputs, targets[:n])))
        assert float(host(blocks.loss_and_gradient(inputs, targets[:n]))) == pytest.approx(wanted, rel=1e-14)
        assert float(host(blocks.measure(inputs, targets[:n]))) == pytest.approx(wanted, rel=1e-14)
        one, other = host(network.gradient.flat), host(blocks.gradient.flat)
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(host(blocks.logits()), host(network.logits()), rtol=1e-13, atol=1e-15)


def test_the_memory_for_logits_does_not_grow_with_the_chunk_length(monkeypatch):
    monkeypatch.setattr(readout, "BLOCK", 2 * V * B)
    network = toy_network(Config(V, "rnn", H, 1), 50, B, np.random.default_rng(1))
    ids = np.zeros((50, B), dtype=int)
    network.loss_and_gradient(ids, ids)
    assert network.readout.workspace.size == 2 * V * B


def test_logits_are_not_computed_early_for_a_feed_that_does_not_use_them(network, text, monkeypatch):
    monkeypatch.setattr(network.readout, "logits", None)
    network.loss_and_gradient(text[0], text[1])


def test_memory_for_training_is_not_allocated_during_generation(network, text):
    network.step(0, text[0][0])
    for part in (network.readout, *network.layers[0].linears):
        assert not {"da", "dx", "workspace"} & vars(part).keys()


def test_targets_may_be_small_integers_and_logits_transposed(generator):
    N = 10
    logits, targets = generator.normal(size=(N, 99)).T, generator.integers(99, size=N)  # (99, N), (N,)
    results = []
    for logits_, dtype in ((logits, "uint8"), (logits.copy(), "int64")):
        own, given = logits_.copy(order="K"), targets.astype(dtype)
        value, cache = loss_forward(np, own, given, N)
        results.append((value, loss_backward(np, cache)))
        assert results[-1][1] is own  # overwritten to save memory
        np.testing.assert_array_equal(given, targets)
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-14)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_do_not_overflow(dtype, backend, host):
    logits = np.zeros((V, B), dtype)
    logits[0], logits[1] = 1e4, -1e4  # p(0) = 1
    for target, nats in ((0, 0.0), (1, 2e4), (2, 1e4)):
        there = [backend.to_device(array) for array in (logits, np.full(B, target), np.arange(B))]
        value, cache = loss_forward(backend.xp, there[0].copy(), there[1], B, there[2])
        dlogits = host(loss_backward(backend.xp, cache))
        assert host(value) == nats
        assert dlogits.dtype == dtype
        assert np.isfinite(dlogits).all()
