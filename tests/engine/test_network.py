"""Tests for `Network` on every device: chunks, carried states, feeds, batches and dropout."""

import numpy as np
import pytest

from minichar.devices.cpu import CPU, NumPyBackend
from minichar.devices.wavefront import LayerInBlocks, Wavefront
from minichar.engine.config import Config
from minichar.engine.gradcheck import (
    COMPLEX_LIMIT,
    check_network,
    directional_error,
    relative_error,
    toy_network,
)
from minichar.engine.network import Network

T, B, V, H = 5, 2, 8, 3


@pytest.fixture
def network(cell, generator, backend):
    """Return a two-layer network with random weights and a random state, without dropout."""
    return toy_network(Config(V, cell, rnn_size=H, num_layers=2), T, B, generator, backend)


@pytest.fixture
def text(generator, backend):
    """Return ``(inputs, targets)`` for two chunks, each ``(2T, B)``."""
    return backend.to_device(generator.integers(V, size=(2, 2 * T, B)))


@pytest.fixture
def same(host):
    """Return a function that asserts equality up to rounding, which may depend on the memory layout."""
    return lambda value, wanted: np.testing.assert_allclose(host(value), host(wanted), rtol=1e-12, atol=1e-14)


@pytest.fixture
def equal(host):
    """Return a function that asserts that two arrays are bitwise identical."""
    return lambda value, wanted: np.testing.assert_array_equal(host(value), host(wanted))


def another(network, T=T, B=B):
    """Return a network that shares the weights, with a zero state and separate buffers."""
    return Network(network.config, network.parameters, T, B)


def loss_and_gradient(network, inputs, targets):
    """Run a forward and a backward pass, and return copies of ``(loss, logits, gradient)``."""
    loss = network.learn(inputs, targets)
    return loss, network.logits().copy(), network.gradient.flat.copy()


class TestChunks:
    def test_two_chunks_with_carried_state_are_equivalent_to_one_long_sequence(
        self, network, text, host, same
    ):
        inputs, targets = text
        long = another(network, 2 * T)
        long.state = network.state
        whole = host(long.measure(inputs, targets))

        losses, logits = [], []
        for chunk in (slice(0, T), slice(T, 2 * T)):
            losses.append(host(network.measure(inputs[chunk], targets[chunk])))
            logits.append(network.logits().copy())
            network.carry()
        assert np.mean(losses) == pytest.approx(float(whole), rel=1e-13)
        same(network.xp.concatenate(logits), long.logits())
        long.carry()
        same(network.state, long.state)

    def test_uneven_chunks_are_equivalent_to_one_long_sequence(self, network, text, same):
        inputs, _ = text
        long = another(network, 2 * T)
        long.state = network.state
        whole = long.forward(inputs)
        long.carry()
        for chunk in (slice(0, 2), slice(2, 7), slice(7, 10)):
            n = chunk.stop - chunk.start
            logits = network.forward(inputs[chunk], n)
            assert network.n == n
            same(logits, whole[chunk])
            network.carry()
        same(network.state, long.state)

    def test_gradients_do_not_cross_chunk_boundaries(self, network, text, host, generator):
        inputs, targets = text
        first, second = slice(0, T), slice(T, 2 * T)
        start = network.state
        network.forward(inputs[first])
        network.carry()

        # The second chunk's gradient treats its initial state as a constant.
        direction = generator.normal(size=network.parameters.size)  # (size,)
        feed = inputs[second]
        assert directional_error(network, feed, targets[second], direction) <= COMPLEX_LIMIT
        if network.parameters.backend.kind == "cpu":
            assert all(row.passed for row in check_network(network, feed, targets[second]))

        # If both chunks were processed as one sequence, the gradient of the second loss would differ.
        long = another(network, 2 * T)
        long.state = start
        long.learn(inputs, targets)
        long.readout.dx[second] *= 2  # because the chunk's own loss is a mean over half as many characters
        long.readout.dx[first] = 0.0
        long.backward()
        assert relative_error(host(network.gradient["layer1.W"]), host(long.gradient["layer1.W"])) > 1e-3

    def test_a_backward_pass_does_not_affect_the_next(self, network, text, same):
        """Gradients do not accumulate across chunks."""
        inputs, targets = text
        for chunk in (slice(0, T), slice(T, 2 * T)):
            fresh = another(network)
            fresh.state = network.state
            expected = loss_and_gradient(fresh, inputs[chunk], targets[chunk])
            result = loss_and_gradient(network, inputs[chunk], targets[chunk])
            for value, wanted in zip(result, expected, strict=True):
                same(value, wanted)
            network.carry()

    def test_a_pass_is_not_affected_by_an_earlier_longer_one(self, network, text, same):
        inputs, targets = text
        loss_and_gradient(network, inputs[:T], targets[:T])
        n = 2
        fresh = another(network)
        fresh.state = network.state
        expected = loss_and_gradient(fresh, inputs[T : T + n], targets[T : T + n])
        result = loss_and_gradient(network, inputs[T : T + n], targets[T : T + n])
        for value, wanted in zip(result, expected, strict=True):
            same(value, wanted)

    def test_repeating_a_chunk_gives_the_same_result(self, network, text, host, equal):
        """Only `carry` changes the initial state, so repeating a chunk starts from the same state."""
        inputs, targets = text
        before = network.state
        first = loss_and_gradient(network, inputs[:T], targets[:T])
        equal(network.state, before)
        for value, wanted in zip(loss_and_gradient(network, inputs[:T], targets[:T]), first, strict=True):
            equal(value, wanted)
        network.carry()
        assert (host(network.state) != host(before)).all()


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
    keep, found = generator.random((T, B)) < 0.6, []
    for backend in (CPU, Blocks()):
        network = toy_network(config, T, B, np.random.default_rng(1), backend)
        network.set_keep(keep if resets else None)
        loss = network.learn(inputs, targets)
        network.carry()
        found.append((loss, network.gradient.flat, network.state))
    for wanted, value in zip(*found, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-10, atol=1e-13)


class TestCaches:
    def test_an_evaluation_stores_no_caches(self, network, text):
        network.keep_caches(False)
        network.measure(text[0, :T], text[1, :T])
        assert [layer.caches for layer in network.layers] == [[()] * T for _ in network.layers]

    def test_an_evaluation_stores_no_caches_of_layer_norm(self, generator, backend, text):
        network = toy_network(Config(V, rnn_size=H, layer_norm=True), T, B, generator, backend)
        network.keep_caches(False)
        network.measure(text[0, :T], text[1, :T])
        assert [norm.caches for layer in network.layers for norm in layer.norms] == [[()] * T] * 2

    def test_an_evaluation_does_not_affect_a_later_backward_pass(self, network, text, same):
        inputs, targets = text
        fresh = another(network)
        fresh.state = network.state
        expected = loss_and_gradient(fresh, inputs[T:], targets[T:])
        loss = network.learn(inputs[:T], targets[:T])  # leaves stale values in the caches
        same(network.measure(inputs[:T], targets[:T]), loss)
        for value, wanted in zip(loss_and_gradient(network, inputs[T:], targets[T:]), expected, strict=True):
            same(value, wanted)


class TestState:
    def test_the_state_that_is_set_is_returned(self, network, backend, generator, equal):
        values = backend.to_device(generator.normal(size=network.config.state_shape(B)))
        network.state = values
        equal(network.state, values)

    def test_the_returned_state_is_a_copy(self, network, equal):
        kept = network.state
        copy = kept.copy()
        network.reset()
        equal(kept, copy)

    def test_reset_sets_the_state_to_zero(self, network, text, host, same):
        assert host(network.state).any()
        network.reset()
        assert not host(network.state).any()
        inputs = text[0, :T]
        same(network.forward(inputs), another(network).forward(inputs))

    def test_another_network_can_continue_from_the_state(self, network, text, same):
        inputs, _ = text
        network.forward(inputs[:T])
        network.carry()
        other = another(network)
        other.state = network.state
        feed = inputs[T:]
        same(other.forward(feed), network.forward(feed))

    def test_the_carried_state_is_the_state_after_the_last_pass(self, network, text, same):
        """After a full chunk and two single steps, the state after the second single step is carried over."""
        inputs, _ = text
        start = network.state
        network.forward(inputs[:T])
        for t in range(2):
            network.step(t, inputs[T + t])
        network.carry()
        other = another(network)
        other.state = start
        other.forward(inputs[T:], 2)
        other.carry()
        same(network.state, other.state)

    def test_a_state_with_the_wrong_number_of_layers_is_rejected(self, network):
        with pytest.raises(ValueError, match="zip"):
            network.state = network.state[:1]


class Chosen:
    """A feed that chooses characters."""

    def __init__(self, ids):
        self.ids = ids


class TestFeed:
    def test_single_steps_and_a_whole_chunk_give_the_same_logits(self, network, text, same):
        """Generation uses a network with T = 1, and training uses entire chunks."""
        inputs = text[0, :T]
        single = another(network, 1)
        single.state = network.state
        whole = network.forward(inputs)
        for t in range(T):
            same(single.step(0, inputs[t]), whole[t])
            single.carry()

    def test_the_feed_of_step_t_receives_the_logits_of_step_t_minus_1(self, network, text, equal):
        inputs = text[0, :T]
        seen = []

        class Watching(Chosen):
            def __call__(self, t, look):
                seen.append((t, look().copy() if t else None))
                return self.ids[t : t + 1]

        logits = network.forward(Watching(inputs))
        assert [t for t, _ in seen] == list(range(T))
        for t in range(1, T):
            equal(seen[t][1], logits[t - 1])

    def test_a_feed_can_return_the_characters_of_several_steps(self, network, text, equal):
        calls = []

        class Pairs(Chosen):
            def __call__(self, t, look):
                calls.append(t)
                return self.ids[t : t + 2]

        state, whole = network.state, network.forward(text[0, :T], 3).copy()
        network.state = state
        equal(network.forward(Pairs(text[0, :T]), 3), whole)
        assert calls == [0, 2]

    def test_a_feed_that_ends_too_early_is_an_error(self, network, text):
        with pytest.raises(ValueError, match=f"no characters for step 2 of {T}$"):
            network.forward(text[0, :2])

    def test_a_feed_can_return_the_predictions_of_the_model(self, network, backend, host):
        class Predictions(Chosen):
            def __call__(self, t, look):
                if t > 0:
                    self.ids[t] = look().argmax(axis=0)
                return self.ids[t : t + 1]

        network.forward(Predictions(backend.to_device(np.full((T, 2), [1, 2]))))
        fed = host(network.fed)
        np.testing.assert_array_equal(fed[0], [1, 2])
        np.testing.assert_array_equal(fed[1:], host(network.logits())[:-1].argmax(axis=1))


class TestBatch:
    def test_permuting_the_sequences_permutes_the_logits(self, cell, backend, host, generator):
        B, order = 4, [2, 0, 3, 1]
        network = toy_network(Config(V, cell, rnn_size=H, num_layers=2), T, B, generator, backend)
        inputs = generator.integers(V, size=(T, B))
        permuted = another(network, B=B)
        permuted.state = backend.to_device(host(network.state)[..., order])
        logits = host(network.forward(backend.to_device(inputs)))
        result = permuted.forward(backend.to_device(inputs[:, order]))
        np.testing.assert_allclose(host(result), logits[..., order], rtol=1e-12, atol=1e-14)

    def test_a_sequence_does_not_affect_its_neighbour(self, network, text, backend, host):
        inputs = host(text)[0, :T]
        logits = host(network.forward(backend.to_device(inputs))).copy()
        changed = inputs.copy()
        changed[:, 1] = (changed[:, 1] + 1) % V
        state = network.state
        state[..., 1] += 0.1
        network.state = state
        again = host(network.forward(backend.to_device(changed)))
        np.testing.assert_array_equal(again[..., 0], logits[..., 0])
        assert (again[..., 1] != logits[..., 1]).all()


class TestDropoutInTheNetwork:
    @pytest.fixture
    def dropping(self, cell, backend, generator):
        config = Config(V, cell, rnn_size=H, num_layers=2, dropout=0.4)
        return toy_network(config, T, B, generator, backend)

    def test_dropout_is_applied_between_the_layers_and_before_the_read_out(self, dropping, text, host):
        """If a unit is always dropped, its columns in layer 2 and in ``readout.W`` have a zero gradient."""
        inputs, targets = text
        for mask in dropping.masks:
            mask[...] = 1.0
            mask[:, 1] = 0.0
        loss_and_gradient(dropping, inputs[:T], targets[:T])
        gradient = {name: host(g) for name, g in dropping.gradient.items()}
        assert not gradient["readout.W"][:, 1].any()
        assert gradient["readout.W"][:, [0, 2]].all()
        first_input = 0 if "layer2.U" in gradient else H  # the first input column of W
        assert not gradient["layer2.W"][:, first_input + 1].any()
        assert gradient["layer2.W"][:, [first_input, first_input + 2]].all()

    def test_dropout_is_not_applied_to_the_carried_state(self, dropping, text, host, same):
        """If all outputs of layer 1 are dropped, its state is still the same as without dropout."""
        inputs, _ = text
        undropped = another(dropping)
        undropped.state = dropping.state
        for mask in dropping.masks:
            mask[...] = 0.0
        for network in (dropping, undropped):
            network.forward(inputs[:T])
            network.carry()
        same(dropping.state[0], undropped.state[0])
        assert (host(dropping.state[1]) != host(undropped.state[1])).all()

    def test_before_masks_are_drawn_dropout_is_inactive(self, dropping, text, same):
        fresh = another(dropping)
        feed = text[0, :T]
        without = Network(Config(V, fresh.config.model, H, 2), fresh.parameters, T, B)
        same(fresh.forward(feed), without.forward(feed))


def test_closed_gates_cause_no_overflow_warning(network, text):
    network.parameters.flat[...] = -1000.0
    with np.errstate(over="raise"):
        network.run(text[0, :T])
