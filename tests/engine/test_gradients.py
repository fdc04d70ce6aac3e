import numpy as np
import pytest

from minichar.backend import CPU
from minichar.engine.config import Config, initialise
from minichar.engine.gradcheck import (
    CENTRAL_LIMIT,
    COMPLEX_LIMIT,
    check_network,
    complex_step,
    directional_error,
    loss_of,
    relative_error,
    toy_network,
)
from minichar.engine.network import Network, teacher_forcing
from minichar.engine.parameters import Parameters
from minichar.training.scheduled_sampling import scheduled_sampling

# No two sizes, sums or products of them that occur as an axis are equal, so a transposed matrix has no
# place to hide: T·B = 10; H+1, 2H+1 = 4, 7; 2H, 3H, 4H = 6, 9, 12.
T, B, V, H = 5, 2, 8, 3


def characters(generator, T=T, B=B, V=V):
    """Return inputs and targets, each ``(T, B)``."""
    return generator.integers(V, size=(2, T, B))


@pytest.mark.parametrize("ss_feed", ["off", "sample", "argmax"])
@pytest.mark.parametrize("dropout", [0, 0.4])
@pytest.mark.parametrize("L", [1, 2, 3])
def test_every_element_of_every_gradient(cell, L, dropout, ss_feed, generator):
    """From a carried, nonzero state: `toy_network` sets one."""
    network = toy_network(Config(V, **cell, rnn_size=H, num_layers=L, dropout=dropout), T, B, generator)
    assert network.state.all()
    inputs, targets = characters(generator)
    feed = teacher_forcing(inputs)
    if ss_feed != "off":
        feed = scheduled_sampling(inputs, 0.3, ss_feed, generator, CPU)
    rows = check_network(network, feed, targets)
    assert (network.fed != inputs).any() == (ss_feed != "off")
    assert [row.name for row in rows] == list(network.config.shapes())
    for row in rows:
        assert network.gradient[row.name].any(), row
        assert row.complex_error <= COMPLEX_LIMIT, row
        assert row.central_error <= CENTRAL_LIMIT, row


def test_the_gradient_of_fewer_than_T_steps(cell, generator):
    n = 3
    network = toy_network(Config(V, **cell, rnn_size=H, num_layers=2, dropout=0.4), T, B, generator)
    inputs, targets = characters(generator)

    # A full chunk first, so that the workspaces hold something to leak.
    network.loss.forward(network.forward(teacher_forcing(inputs)), targets)
    network.backward(network.loss.backward())
    network.loss.forward(network.forward(teacher_forcing(inputs), n), targets[:n])
    network.backward(network.loss.backward())

    short = Network(network.config, network.parameters, n, B)
    short.state, short.fed = network.state, inputs[:n]
    for dropout, original in zip(short.dropouts, network.dropouts, strict=True):
        dropout.mask = original.mask[:n]
    reference = complex_step(loss_of(short, "complex128", targets[:n]), network.parameters.flat)
    assert relative_error(network.gradient.flat, reference) <= COMPLEX_LIMIT


@pytest.mark.parametrize("dropout", [0, 0.4])
def test_the_gradient_at_real_sizes_along_a_direction(cell, dropout, generator):
    config = Config(65, **cell, rnn_size=64, num_layers=2, dropout=dropout)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, generator)
    network = Network(config, parameters, T=20, B=10)
    network.draw_masks(generator)
    inputs, targets = characters(generator, 20, 10, 65)
    for _ in range(3):
        direction = generator.normal(size=parameters.size)  # (size,)
        assert directional_error(network, teacher_forcing(inputs), targets, direction) <= 1e-11


def test_float32_gradients_agree_with_float64_to_their_precision(cell, generator):
    config = Config(65, **cell, rnn_size=32, num_layers=2)
    exact = Parameters(config.shapes(), "float64")
    initialise(config, exact, generator)
    rounded = exact.twin("float32")
    rounded.flat[...] = exact.flat
    inputs, targets = characters(generator, 20, 10, 65)
    gradients = []
    for parameters in (exact, rounded):
        network = Network(config, parameters, T=20, B=10)
        network.loss.forward(network.forward(teacher_forcing(inputs)), targets)
        network.backward(network.loss.backward())
        gradients.append(network.gradient)
    assert gradients[1].dtype == "float32"
    for name, g in gradients[0].items():
        error = relative_error(gradients[1][name], g)
        assert 0 < error < 100 * np.finfo("float32").eps, name
