"""Tests that the gradient of the entire network agrees with complex-step differentiation."""

import numpy as np
import pytest
from cells import ODD
from directional import directional_error

from minichar.devices.cpu import CPU
from minichar.engine.config import Config, initialise
from minichar.engine.gradcheck import (
    COMPLEX_LIMIT,
    complex_step,
    loss_of,
    relative_error,
    toy_network,
)
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.engine.registry import CELLS
from minichar.training.scheduled_sampling import ScheduledSampling

# No two axes have the same length, so a transposed matrix always has the wrong shape: T·B is 10, H+1 and
# 2H+1 are 4 and 7, and 2H, 3H and 4H are 6, 9 and 12.
T, B, V, H = 5, 2, 8, 3
STATE_MASK = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]], bool)
"""Mask with resets (0) at the first step, in one column, in both columns, and at consecutive steps."""


def characters(generator, T=T, B=B, V=V, backend=CPU):
    """Return random ``(inputs, targets)``, each ``(T, B)``."""
    return backend.to_device(generator.integers(V, size=(2, T, B)))


def feed_of(inputs, ss_feed, backend):
    """Return a feed: teacher forcing if `ss_feed` is ``off``, and scheduled sampling otherwise."""
    if ss_feed == "off":
        return inputs
    feed = ScheduledSampling(inputs, ss_feed, backend)
    feed.draw_mask(0.3, backend.uniform(1))
    return feed


@pytest.fixture
def odd(monkeypatch):
    """Register the cell `ODD`, which has three states."""
    monkeypatch.setitem(CELLS, ODD.name, ODD)


MASKS = {"dropout": 0.4, "weight_drop": 0.4}
EVERY_OPTION = MASKS | {"embedding": 4, "layer_norm": True}


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("cell", "L", "options", "ss_feed", "state_mask"),
    [
        ("lstm", 1, {}, "off", None),
        ("rnn", 3, {"dropout": 0.4}, "sample", None),
        *((cell, 2, EVERY_OPTION, "argmax", None) for cell in CELLS),
        *((cell, 2, {"dropout": 0.4}, "off", STATE_MASK) for cell in (*CELLS, ODD.name)),
        *((cell, 1, MASKS | {"tied": True, "embedding": H}, "off", None) for cell in CELLS),
    ],
)
def test_every_element_of_every_gradient(cell, L, options, ss_feed, state_mask, generator):
    """`toy_network` sets a nonzero initial state, so the check covers its contribution to the gradients."""
    network = toy_network(Config(V, cell, rnn_size=H, num_layers=L, **options), T, B, generator)
    network.set_state_mask(state_mask)
    assert network.state.all()
    inputs, targets = characters(generator)
    network.loss_and_gradient(feed_of(inputs, ss_feed, CPU), targets)
    assert (network.fed != inputs).any() == (ss_feed != "off")
    reference = network.parameters.twin()
    reference.flat[...] = complex_step(loss_of(network, "complex128", targets), network.parameters.flat)
    for name, g in network.gradient.items():
        assert g.any(), name
        assert relative_error(g, reference[name]) <= COMPLEX_LIMIT, name


@pytest.mark.parametrize(
    ("model", "options", "ss_feed"),
    [("rnn", EVERY_OPTION, "off"), ("gru", {}, "sample"), ("gru", {}, "argmax")],
    ids=["every option", "sample", "argmax"],
)
def test_the_gradient_on_every_other_device(model, options, ss_feed, device, generator):
    """The loss is differentiated in one random direction: small operations are slow on these devices."""
    network = toy_network(Config(V, model, H, 1, **options), T, B, generator, device)
    network.set_state_mask(STATE_MASK if options else None)
    inputs, targets = characters(generator, backend=device)
    direction = generator.normal(size=network.parameters.size)  # (size,)
    error = directional_error(network, feed_of(inputs, ss_feed, device), targets, direction)
    assert error <= COMPLEX_LIMIT
    assert (device.to_host(network.fed) != device.to_host(inputs)).any() == (ss_feed != "off")


def test_the_gradient_of_fewer_than_T_steps(cell, generator):
    """Run a full chunk first, so that leftover values would be detected."""
    n = 3
    network = toy_network(Config(V, cell, rnn_size=H, num_layers=2, dropout=0.4), T, B, generator)
    inputs, targets = characters(generator)
    network.loss_and_gradient(inputs, targets)
    network.loss_and_gradient(inputs, targets[:n])

    short = Network(network.config, network.parameters, n, B)
    short.state, short.fed = network.state, inputs[:n]
    short.masks = [mask[:n] for mask in network.masks]
    direction, h = generator.normal(size=network.parameters.size), 1e-30
    slope = loss_of(short, "complex128", targets[:n])(network.parameters.flat + 1j * h * direction).imag / h
    assert network.gradient.flat @ direction == pytest.approx(slope, rel=COMPLEX_LIMIT)


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("model", [*CELLS, ODD.name])
def test_every_device_computes_the_same_gradient_as_the_cpu(model, backend, generator):
    """A function that a device cannot fuse issues a warning. The tolerances are multiples of the epsilons."""
    T = 4
    config = Config(65, model, rnn_size=32, num_layers=2)
    exact = Parameters(config.shapes(), "float64")
    initialise(config, exact, generator)
    inputs, targets = characters(generator, T, 10, 65)
    gradients = []
    for dtype, there in (("float64", CPU), ("float64", backend), ("float32", backend)):
        parameters = Parameters(config.shapes(), dtype, there)
        parameters.flat[...] = there.to_device(exact.flat)
        network = Network(config, parameters, T, B=10)
        network.loss_and_gradient(there.to_device(inputs), there.to_device(targets))
        assert network.gradient.dtype == dtype
        gradients.append({name: there.to_host(g) for name, g in network.gradient.items()})
    for name, g in gradients[0].items():
        assert relative_error(gradients[1][name], g) < 100 * np.finfo("float64").eps, name
        assert 0 < relative_error(gradients[2][name], g) < 100 * np.finfo("float32").eps, name
