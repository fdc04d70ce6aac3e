"""Lesson 9. Truncation and the carried state: the values cross the edge, the gradients do not.

A text has a million characters; nobody can unroll a million steps. So the text is read in chunks
of T steps (`--seq-length`, 50), and after each chunk comes a step of learning. Two things could
cross the edge from one chunk to the next:

    the state      forward     h_T of one chunk is h_0 of the next             carried
    its gradient   backward    dh_0 of a chunk would join dh_T of the one before    cut: taken as 0

The state is carried, so the network *reads* without a gap and may use what it saw a thousand steps
ago. The gradient is cut, so it is *taught* to remember only over what is inside one chunk. It is
not only to save memory: the chunk before was read with weights that have changed since.

What is lost? Two chunks, with losses L1 and L2. The true gradient has three parts:

    dW  =  L1 through chunk 1  +  L2 through chunk 2  +  L2 through chunk 1
           kept                   kept                   cut: it would come over the edge, by dh_0

So a truncated gradient is biased, but it is not wrong: it is the exact gradient of a loss in which
the state that a chunk starts from is a constant, a number that fell from the sky. The checks below
say both. Put the third part back by hand and nothing is missing.

Where a text begins anew there is nothing to carry, and the state is set to 0 (`reset`).
"""

import numpy as np

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, toy_network
from minichar.engine.network import Network, teacher_forcing
from minichar.engine.rnn import RNN

H, D, T, B = 3, 2, 4, 2
generator = np.random.default_rng(9)
W = generator.normal(size=(H, H + D + 1)) * 0.7
x = generator.normal(size=(2 * T, D, B))
dh_above = generator.normal(size=(2 * T, H, B))  # the losses, as Σ dh_above ∘ h


def read(x, start=0.0):
    """A layer that has read x from the state `start`."""
    layer = RNN({"W": W}, {"W": np.zeros_like(W)}, H, len(x), B, CPU)
    layer.states[0][0] = start
    for t in range(len(x)):
        layer.x[t] = x[t]
        layer.step(t, None)
    return layer


def gradient(layer, dh_above):
    layer.backward(dh_above, None)
    return layer.gradients["W"]


def two_chunks():
    first = read(x[:T])
    return first, read(x[T:], start=first.h[T])


def test_with_the_state_carried_two_chunks_read_as_one():
    first, second = two_chunks()
    np.testing.assert_array_equal(np.concatenate([first.h[1:], second.h[1:]]), read(x).h[1:])


def test_the_engine_carries_the_last_state_to_the_first_place():
    layer = read(x[:T])
    layer.carry(T)
    for t in range(T):
        layer.x[t] = x[T + t]
        layer.step(t, None)
    np.testing.assert_array_equal(layer.h[1:], read(x).h[T + 1 :])


def test_cut_at_the_edge_the_gradient_of_both_chunks_is_not_the_whole_one():
    first, second = two_chunks()
    kept = gradient(first, dh_above[:T]) + gradient(second, dh_above[T:])
    whole = gradient(read(x), dh_above)
    assert abs(kept - whole).max() > 0.01 * abs(whole).max()


def test_what_is_missing_is_what_would_come_in_over_the_edge():
    first, second = two_chunks()
    dh = np.zeros((H, B))
    for t in reversed(range(T)):
        (dh,) = second.step_backward(t, dh + dh_above[T + t])  # after t = 0: at the edge
    mended = dh_above[:T].copy()
    mended[-1] += dh
    kept = gradient(second, dh_above[T:])
    np.testing.assert_allclose(gradient(first, mended) + kept, gradient(read(x), dh_above), rtol=1e-12)


def test_nothing_of_one_walk_back_is_left_over_for_the_next():
    layer = read(x[:T])
    once = gradient(layer, dh_above[:T]).copy()
    np.testing.assert_array_equal(gradient(layer, dh_above[:T]), once)


def test_the_truncated_gradient_is_exact_if_the_carried_state_is_a_constant():
    config = Config(vocab_size=7, model="rnn", rnn_size=3)
    network = toy_network(config, T, B, generator)
    network.forward(teacher_forcing(generator.integers(7, size=(T, B))))  # some chunk before
    network.carry()
    np.testing.assert_array_equal(network.state[:, 0], [layer.h[T] for layer in network.layers])
    inputs, targets = generator.integers(7, size=(2, T, B))  # each (T, B)
    for row in check_network(network, teacher_forcing(inputs), targets):
        assert row.complex_error < 1e-13


def test_a_reset_makes_what_follows_a_beginning():
    config = Config(vocab_size=7, model="lstm", rnn_size=3)
    network = toy_network(config, T, B, generator)
    fresh = Network(config, network.parameters, T, B)
    feed = teacher_forcing(generator.integers(7, size=(T, B)))
    assert (network.forward(feed) != fresh.forward(feed)).any()
    network.reset()
    np.testing.assert_array_equal(network.forward(feed), fresh.forward(feed))


EXERCISE = """
In minichar/engine/recurrent.py, in carry, change

    state[0] = state[n]

to

    state[0] = state[n - 1]

so that the next chunk starts one step too early. No gradient check can see this, since each chunk
by itself is differentiated rightly. Which tests do?
"""

ANSWER = """
test_the_engine_carries_the_last_state_to_the_first_place, which reads on and compares, and in
test_the_truncated_gradient_is_exact_if_the_carried_state_is_a_constant the line that looks at the
state itself, before any gradient. Each chunk has the right gradient for the state that it got; what
is wrong with that state, only a test of values can tell.
"""
