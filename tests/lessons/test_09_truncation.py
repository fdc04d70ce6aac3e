"""Lesson 9. Truncation and the carried state: states cross chunk boundaries, but gradients do not.

A training text may have a million characters, and you cannot unroll a million steps. Instead, split
the text into chunks of T steps (`--seq-length`, about 50 by default) and update the weights after
each chunk. Two things could be passed between chunks:

    state      forward     h_T of a chunk is h_0 of the next           carried
    gradient   backward    dh_0 of a chunk adds to the previous dh_T   dropped

[figure: truncation]

The state is carried over, so the network *reads* without interruption and can use information from
a thousand steps ago. The gradient is dropped, so the network is *trained* to remember only within a
chunk. There are two reasons for dropping it: it would take too much memory, and the weights have
changed since the previous chunk.

[figure: truncation.svg]

What is lost? Take two chunks. The full gradient dW of the sum of their losses has three parts:

    loss of chunk 1 through chunk 1     kept
    loss of chunk 2 through chunk 2     kept
    loss of chunk 2 through chunk 1     dropped with dh_0

The truncated gradient is therefore biased, but it is not wrong: it is the exact gradient of a loss
that treats each chunk's initial state as a constant. The tests below verify both statements, and
that adding the third part restores the full gradient.

This is *truncated* backpropagation through time. At the beginning of the text, there is no state
to carry over, so the state is set to 0 (`reset`).
"""

import numpy as np

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, toy_network
from minichar.engine.layer import Layer
from minichar.engine.network import Network
from minichar.engine.rnn import RNN

H, D, T, B = 3, 2, 4, 2
generator = np.random.default_rng(9)
W = generator.normal(size=(H, H + D + 1)) * 0.7
x = generator.normal(size=(2 * T, D, B))
dh_above = generator.normal(size=(2 * T, H, B))  # the loss is Σ dh_above ∘ h


def run(x, start=0.0):
    """Run a layer over x from the state `start`, and return ``(layer, states)``."""
    layer = Layer(RNN, {"W": W}, {"W": np.zeros_like(W)}, H, len(x), B, CPU)
    layer.start[0] = start
    return layer, read(layer, x)


def read(layer, x):
    layer.linears[0].x[: len(x)] = x
    return np.array([layer.step(t) for t in range(len(x))])  # (n, H, B)


def gradient(layer, dh_above):
    n = len(dh_above)
    layer.backward(slice(0, n), dh_above.copy())
    layer.gradients(slice(0, n), n, ids=None)
    return layer.linears[0].dW


def two_chunks():
    first, h = run(x[:T])
    second, _ = run(x[T:], start=h[-1])
    return first, second


def test_two_chunks_are_equivalent_to_one_if_the_state_is_carried_over():
    _, first = run(x[:T])
    _, second = run(x[T:], start=first[-1])
    np.testing.assert_array_equal(np.concatenate([first, second]), run(x)[1])


def test_the_engine_carries_the_last_state_over():
    layer, _ = run(x[:T])
    layer.carry(T)
    np.testing.assert_array_equal(read(layer, x[T:]), run(x)[1][T:])


def test_the_truncated_gradients_do_not_add_up_to_the_full_one():
    first, second = two_chunks()
    kept = gradient(first, dh_above[:T]) + gradient(second, dh_above[T:])
    full = gradient(run(x)[0], dh_above)
    assert abs(kept - full).max() > 0.01 * abs(full).max()


def test_the_missing_part_is_the_gradient_of_the_carried_state():
    first, second = two_chunks()
    kept = gradient(second, dh_above[T:])
    dh_0 = second.linears[0].state_gradient(0)  # `backward` discards it after its last step
    mended = dh_above[:T].copy()
    mended[-1] += dh_0
    np.testing.assert_allclose(gradient(first, mended) + kept, gradient(run(x)[0], dh_above), rtol=1e-12)


def test_a_backward_pass_does_not_affect_the_next():
    layer, _ = run(x[:T])
    once = gradient(layer, dh_above[:T]).copy()
    np.testing.assert_array_equal(gradient(layer, dh_above[:T]), once)


def test_the_truncated_gradient_is_exact_if_the_carried_state_is_a_constant():
    network = toy_network(Config(vocab_size=7, model="rnn", rnn_size=3), T, B, generator)
    network.forward(generator.integers(7, size=(T, B)))  # an earlier chunk
    network.carry()
    np.testing.assert_array_equal(network.state, [layer.states[T] for layer in network.layers])
    inputs, targets = generator.integers(7, size=(2, T, B))  # each (T, B)
    for row in check_network(network, inputs, targets):
        assert row.complex_error < 1e-13


def test_after_a_reset_the_network_reads_as_if_the_text_began_there():
    config = Config(vocab_size=7, model="lstm", rnn_size=3)
    network = toy_network(config, T, B, generator)
    fresh = Network(config, network.parameters, T, B)
    feed = generator.integers(7, size=(T, B))
    assert (network.forward(feed) != fresh.forward(feed)).any()
    network.reset()
    np.testing.assert_array_equal(network.forward(feed), fresh.forward(feed))


EXERCISE = """
In minichar/engine/layer.py, in carry, change

    self.start[...] = self.xp.concatenate(self.states[n]).reshape(self.start.shape)  # (S, H, B)

to

    self.start[...] = self.xp.concatenate(self.states[n - 1]).reshape(self.start.shape)  # (S, H, B)

Now the next chunk starts from a state that is one step too old. No gradient check can detect this,
because each chunk's gradient is still correct. Which tests can?
"""

ANSWER = """
test_the_engine_carries_the_last_state_over fails, because it compares the states of the second
chunk. test_the_truncated_gradient_is_exact_if_the_carried_state_is_a_constant fails at the line
that compares the states, before it checks any gradient. Each chunk has the correct gradient for
its initial state, so only a test of values can detect that the state is wrong.
"""
