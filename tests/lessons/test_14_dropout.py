"""Lesson 14. Dropout: the same mask forward and backward, and no rescaling after training.

A network with more weights than there are characters in the training text can memorise the text.
*Dropout* (Srivastava et al. 2014) makes memorising harder. In training, it sets each unit to 0 with
probability p, independently at every step, so units cannot rely on one another.

[figure: dropout]

    mask = 0 with probability p, else 1 / (1 - p)
    y    = mask ∘ h

The factor 1 / (1 - p) makes the mean of y equal to h: (1 - p) · h / (1 - p) + p · 0 = h. The layer
above receives values on the usual scale, so after training you can simply leave out the mask. This
is called *inverted* dropout.

The mask is random, but once drawn, it is a constant, so the backward pass multiplies by it as well:

    dh = mask ∘ dy                   the same mask: a dropped unit gets no gradient

If the backward pass drew a new mask, the result would not be the gradient of any loss.

[figure: dropout_mask.svg]

The mask is applied between layers and before the readout, but not between h_prev and h (Zaremba et
al. 2014). Otherwise, each state would be multiplied by T masks: with p = 0.3, a unit would survive
50 steps with probability 0.7⁵⁰ = 2e-8. With two layers:

    x of layer 2     = mask_1 ∘ h of layer 1     dh_above of layer 1 = mask_1 ∘ dx of layer 2
    x of the readout = mask_2 ∘ h of layer 2     dh_above of layer 2 = mask_2 ∘ dx of the readout

minichar measures the training loss with dropout active, so it is usually higher than the loss of
the same network without dropout.
"""

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine import dropout
from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, complex_step, toy_network

p, H, T, B, V = 0.3, 4, 5, 2, 7


@pytest.fixture
def generator():
    return np.random.default_rng(13)


@pytest.fixture
def uniform():
    """Generator of the uniform random numbers from which masks are computed."""
    return CPU.uniform(13)


def mask_of(shape, uniform):
    mask = np.empty(shape)
    dropout.draw_mask(p, uniform, mask)
    return mask


def test_a_unit_is_dropped_or_scaled_up(generator, uniform):
    h = generator.normal(size=(T, H, B))
    y = dropout.forward(h, mask_of(h.shape, uniform))
    assert ((y == 0) | np.isclose(y, h / (1 - p))).all()
    assert (y == 0).any()
    assert (y != 0).any()


def test_the_mean_does_not_change(uniform):
    y = dropout.forward(np.ones((100, 100, 10)), mask_of((100, 100, 10), uniform))
    assert y.mean() == pytest.approx(1.0, abs=0.01)
    assert (y == 0).mean() == pytest.approx(p, abs=0.01)


def test_every_step_and_every_chunk_has_a_different_mask(generator, uniform):
    network = toy_network(Config(V, "rnn", rnn_size=50, num_layers=1, dropout=p), T, B, generator)
    masks = []
    for _ in range(2):
        network.draw_masks(uniform)
        masks += [mask.copy() for mask in network.masks[0]]
    assert len({mask.tobytes() for mask in masks}) == 2 * T


def test_the_gradient_passes_through_the_same_mask(generator, uniform):
    h, dy = generator.normal(size=(2, T, H, B))
    mask = mask_of(h.shape, uniform)
    by_complex_step = complex_step(
        lambda theta: (dy * dropout.forward(theta.reshape(h.shape), mask)).sum(), h.reshape(-1)
    )
    dh = dropout.backward(dy, mask)
    np.testing.assert_allclose(dh.reshape(-1), by_complex_step, rtol=1e-14)
    np.testing.assert_array_equal(dh == 0, dropout.forward(h, mask) == 0)


def test_the_state_passed_to_the_next_step_is_never_dropped(generator, uniform):
    """The first layer's states therefore do not depend on its mask."""
    network = toy_network(Config(V, "rnn", H, num_layers=2, dropout=0.9), T, B, generator)
    feed = generator.integers(V, size=(T, B))
    states, logits = [], []
    for _ in range(2):
        network.draw_masks(uniform)
        logits.append(network.forward(feed).copy())
        states.append(np.array(network.layers[0].states))
    np.testing.assert_array_equal(*states)
    assert (logits[0] != logits[1]).any()


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_with_fixed_masks_the_complex_step_agrees(model, generator):
    network = toy_network(Config(V, model, H, num_layers=2, dropout=p), T, B, generator)
    inputs, targets = generator.integers(V, size=(2, T, B))  # each (T, B)
    for row in check_network(network, inputs, targets):
        assert row.complex_error < 1e-13, row.name


WRITE = ("dropout.forward", "dropout.backward")

EXERCISE = """
In minichar/engine/dropout.py, in backward, change

    return mask * dy

to

    return dy

Now the mask is applied in the forward pass only. Which tests fail? Would they fail with p = 0?
"""

ANSWER = """
test_the_gradient_passes_through_the_same_mask and test_with_fixed_masks_the_complex_step_agrees
fail. With p = 0, both would pass, because every entry of the mask is then 1. A test with dropout
disabled does not test dropout.
"""
