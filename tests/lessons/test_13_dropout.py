"""Lesson 13. Dropout: the same coin forward and backward, and nothing to scale afterwards.

A network with more weights than text learns the text by heart. *Dropout* (Srivastava et al. 2014)
makes that harder: while it trains, each unit is struck out with probability p, anew every time,
so that no unit can rely on any other being there.

    mask = 0 with probability p, else 1 / (1 - p)
    y    = mask ∘ h

Why 1 / (1 - p)? On average, y = (1 - p) · 1/(1 - p) · h + p · 0 = h. The layers above see what they
are used to, and after training the mask is left out without any change: *inverted* dropout.

The mask is drawn, but once it is drawn it is a constant. So this is a product with a constant:

    dh = mask ∘ dy                   the same mask: a unit that was struck out gets no gradient

With a fresh mask for the backward pass the gradient would belong to no loss at all.

Where? Between layers and before the read-out, never on the way from h_prev to h (Zaremba et al.
2014): there, a state would have to survive T coins, and 0.7⁵⁰ is 2e-8. Forward and backward:

    x of layer 2   = mask_1 ∘ h of layer 1               dh of layer 1 = mask_1 ∘ dx of layer 2
    read-out's x   = mask_2 ∘ h of layer 2               dh of layer 2 = mask_2 ∘ dx of the read-out

The loss that is printed in training is one with units missing. It is higher than the loss of the
same network whole, for that alone.
"""

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.dropout import Dropout
from minichar.engine.gradcheck import check_network, toy_network
from minichar.engine.network import teacher_forcing

p, H, T, B, V = 0.3, 4, 5, 2, 7


@pytest.fixture
def generator():
    return np.random.default_rng(13)


def struck(h, dropout):
    y = np.zeros_like(h)
    for t in range(len(h)):
        dropout.step(t, h[t], out=y[t])
    return y


def test_a_unit_is_struck_out_or_made_larger_by_what_the_others_lose(generator):
    dropout = Dropout(p, H, T, B, "float64", CPU)
    dropout.draw(generator)
    h = generator.normal(size=(T, H, B))
    y = struck(h, dropout)
    assert ((y == 0) | np.isclose(y, h / (1 - p))).all()
    assert (y == 0).any()
    assert (y != 0).any()


def test_on_average_nothing_changes(generator):
    many = Dropout(p, 100, 100, 10, "float64", CPU)
    many.draw(generator)
    ones = np.ones((100, 100, 10))
    assert struck(ones, many).mean() == pytest.approx(1.0, abs=0.01)
    assert (struck(ones, many) == 0).mean() == pytest.approx(p, abs=0.01)


def test_every_step_and_every_chunk_has_coins_of_its_own(generator):
    dropout = Dropout(p, 50, T, B, "float64", CPU)
    dropout.draw(generator)
    first_chunk = dropout.mask.copy()
    dropout.draw(generator)
    assert (first_chunk[0] != first_chunk[1]).any()
    assert (first_chunk != dropout.mask).any()


def test_the_gradient_goes_back_through_the_same_mask(generator):
    dropout = Dropout(p, H, T, B, "float64", CPU)
    dropout.draw(generator)
    dy = generator.normal(size=(T, H, B))
    np.testing.assert_array_equal(dropout.backward(dy), dropout.mask * dy)


def test_a_unit_that_was_struck_out_gets_no_gradient(generator):
    dropout = Dropout(p, H, T, B, "float64", CPU)
    dropout.draw(generator)
    ones = np.ones((T, H, B))
    np.testing.assert_array_equal(dropout.backward(ones) == 0, struck(ones, dropout) == 0)


def test_without_a_mask_it_is_not_there(generator):
    dropout = Dropout(p, H, T, B, "float64", CPU)
    h = generator.normal(size=(T, H, B))
    np.testing.assert_array_equal(struck(h, dropout), h)
    np.testing.assert_array_equal(dropout.backward(h), h)


def test_the_state_carried_to_the_next_step_is_never_struck_out(generator):
    """So what the first layer remembers is the same, whatever the coins say."""
    network = toy_network(Config(V, "rnn", H, 2, dropout=0.9), T, B, generator)
    feed = teacher_forcing(generator.integers(V, size=(T, B)))
    states, logits = [], []
    for _ in range(2):
        network.draw_masks(generator)
        logits.append(network.forward(feed).copy())
        states.append(network.layers[0].h.copy())
    np.testing.assert_array_equal(*states)
    assert (logits[0] != logits[1]).any()


@pytest.mark.parametrize("model", ["rnn", "lstm", "gru"])
def test_with_the_masks_held_still_the_complex_step_agrees_through_two_layers(model, generator):
    network = toy_network(Config(V, model, H, 2, dropout=p), T, B, generator)
    inputs, targets = generator.integers(V, size=(2, T, B))  # each (T, B)
    for row in check_network(network, teacher_forcing(inputs), targets):
        assert row.complex_error < 1e-13, row.name


EXERCISE = """
In minichar/engine/dropout.py, in backward, change

    return dy if self.mask is None else self.mask[: len(dy)] * dy

to

    return dy

as if the coins had only been thrown on the way forward. Which tests see it? And which of them
would have seen it if p had been 0?
"""

ANSWER = """
test_the_gradient_goes_back_through_the_same_mask, test_a_unit_that_was_struck_out_gets_no_gradient
and test_with_the_masks_held_still_the_complex_step_agrees_through_two_layers. With p = 0 none of
them would have: no mask is drawn then, and dy is right. A check with a part switched off proves
nothing about that part.
"""
