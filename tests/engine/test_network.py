"""Tests for `Network`: chunks, blocks of steps, caches, states, feeds and dropout."""

import numpy as np
import pytest
from directional import directional_error

from minichar.devices.cpu import CPU, NumPyBackend
from minichar.devices.wavefront import LayerInBlocks, Wavefront
from minichar.engine.config import Config
from minichar.engine.gradcheck import COMPLEX_LIMIT, toy_network
from minichar.engine.network import Network

T, B, V, H = 5, 2, 8, 3


@pytest.fixture
def network(cell, generator):
    """Return a two-layer network with random weights and a random state, without dropout."""
    return toy_network(Config(V, cell, rnn_size=H, num_layers=2), T, B, generator)


@pytest.fixture
def text(generator):
    """Return ``(inputs, targets)`` for two chunks, each ``(2T, B)``."""
    return generator.integers(V, size=(2, 2 * T, B))


def same(value, wanted):
    """Assert equality up to rounding, which may depend on the memory layout."""
    np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-14)


def another(network, T=T, state=None):
    """Return a network that shares the weights, with separate buffers."""
    other = Network(network.config, network.parameters, T, B)
    if state is not None:
        other.state = state
    return other


def loss_and_gradient(network, inputs, targets):
    """Run a forward and a backward pass, and return copies of ``(loss, logits, gradient)``."""
    loss = network.loss_and_gradient(inputs, targets)
    return loss, network.logits().copy(), network.gradient.flat.copy()


class TestChunks:
    def test_uneven_chunks_and_single_steps_are_equivalent_to_one_long_sequence(self, network, text):
        inputs, targets = text
        long, single = (another(network, length, network.state) for length in (2 * T, 1))
        whole, loss = long.forward(inputs), long.readout.measure(targets)
        long.carry()
        losses = []
        for chunk in (slice(0, 2), slice(2, 7), slice(7, 10)):
            losses.append(network.measure(inputs[chunk], targets[chunk]))
            assert network.n == chunk.stop - chunk.start
            same(network.logits(), whole[chunk])
            network.carry()
        assert np.average(losses, weights=(2, 5, 3)) == pytest.approx(loss, rel=1e-13)
        for t in range(2 * T):
            same(single.step(0, inputs[t]), whole[t])
            single.carry()
        same(network.state, long.state)
        same(single.state, long.state)

    def test_gradients_do_not_cross_chunk_boundaries(self, network, text, generator):
        inputs, targets = text
        network.forward(inputs[:T])
        network.carry()
        # The second chunk's gradient treats its initial state as a constant.
        direction = generator.normal(size=network.parameters.size)  # (size,)
        assert directional_error(network, inputs[T:], targets[T:], direction) <= COMPLEX_LIMIT

    @pytest.mark.parametrize("n", [T, 2])
    def test_a_pass_is_not_affected_by_an_earlier_one(self, n, network, text):
        """Gradients do not accumulate, and no values of a longer or a forward-only pass are left."""
        inputs, targets = text
        before = network.state
        expected = loss_and_gradient(another(network, state=before), inputs[T : T + n], targets[T : T + n])
        network.loss_and_gradient(inputs[:T], targets[:T])
        network.measure(inputs[:T], targets[:T])
        np.testing.assert_array_equal(network.state, before)  # only `carry` changes the initial state
        for value, wanted in zip(
            loss_and_gradient(network, inputs[T : T + n], targets[T : T + n]), expected, strict=True
        ):
            same(value, wanted)


class Blocks(NumPyBackend):
    """A CPU on which each layer runs over blocks of two steps, as on a GPU."""

    def wavefront(self, layers, T):
        return Wavefront([LayerInBlocks(layer) for layer in layers], self.run_lanes)

    def run_lanes(self, lanes, blocks):
        for block in blocks:
            for lane in lanes:
                lane(block)


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.4, "weight_drop": 0.4, "embedding": 4},
        {"layer_norm": True, "embedding": H, "tied": True},
    ],
)
def test_the_steps_can_be_divided_into_blocks(cell, options, resets, generator):
    """The input's part of a matrix product is then computed for a whole block. T is odd."""
    config = Config(V, cell, rnn_size=H, num_layers=2, **options)
    inputs, targets = generator.integers(V, size=(2, T, B))
    state_mask, found = generator.random((T, B)) < 0.6, []
    for backend in (CPU, Blocks()):
        network = toy_network(config, T, B, np.random.default_rng(1), backend)
        network.set_state_mask(state_mask if resets else None)
        loss = network.loss_and_gradient(inputs, targets)
        network.carry()
        found.append((loss, network.gradient.flat, network.state))
    for wanted, value in zip(*found, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_an_evaluation_stores_no_caches(cell, layer_norm, generator, text):
    network = toy_network(Config(V, cell, H, 2, layer_norm=layer_norm), T, B, generator)
    network.store_caches(False)
    network.measure(text[0, :T], text[1, :T])
    for part in (*network.layers, *(norm for layer in network.layers for norm in layer.norms)):
        assert part.caches == [()] * T


class TestState:
    def test_the_state_that_is_set_is_returned_as_a_copy(self, network, generator):
        values = generator.normal(size=network.config.state_shape(B))
        network.state = values
        kept = network.state
        network.reset()
        np.testing.assert_array_equal(kept, values)
        assert not network.state.any()

    def test_the_carried_state_is_the_state_after_the_last_pass(self, network, text):
        """After a full chunk and two single steps, the state after the second single step is carried over."""
        inputs, _ = text
        other = another(network, state=network.state)
        network.forward(inputs[:T])
        for t in range(2):
            network.step(t, inputs[T + t])
        network.carry()
        other.forward(inputs[T:], 2)
        other.carry()
        same(network.state, other.state)

    def test_a_state_with_the_wrong_number_of_layers_is_rejected(self, network):
        with pytest.raises(ValueError, match="zip"):
            network.state = network.state[:1]


class TestFeed:
    def test_the_feed_of_step_t_receives_the_logits_of_step_t_minus_1(self, network, text):
        inputs, seen = text[0, :T], []

        class Watching:
            ids = inputs

            def __call__(self, t, look):
                seen.append((t, look().copy() if t else None))
                return self.ids[t]

        logits = network.forward(Watching())
        assert [t for t, _ in seen] == list(range(T))
        for t in range(1, T):
            np.testing.assert_array_equal(seen[t][1], logits[t - 1])

    def test_a_feed_that_ends_too_early_is_an_error(self, network, text):
        with pytest.raises(ValueError, match=f"no characters for step 2 of {T}$"):
            network.forward(text[0, :2])


def test_before_masks_are_drawn_dropout_is_inactive(network, text):
    """`toy_network` draws masks."""
    dropping = toy_network(Config(V, "rnn", H, 2, dropout=0.4), T, B, np.random.default_rng(1))
    without = Network(Config(V, "rnn", H, 2), dropping.parameters, T, B)
    same(another(dropping).forward(text[0, :T]), without.forward(text[0, :T]))


def test_closed_gates_cause_no_overflow_warning(network, text):
    network.parameters.flat[...] = -1000.0
    with np.errstate(over="raise"):
        network.run(text[0, :T])
