"""How the network goes through time: chunks, carried states, feeds."""

import numpy as np
import pytest

from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, relative_error, toy_network
from minichar.engine.network import Network, teacher_forcing

T, B, V, H = 5, 2, 8, 3


@pytest.fixture
def network(cell, generator):
    """Two layers with random weights and a random state, nothing dropped."""
    return toy_network(Config(V, **cell, rnn_size=H, num_layers=2), T, B, generator)


@pytest.fixture
def text(generator):
    """Inputs and targets of two chunks, each ``(2T, B)``."""
    return generator.integers(V, size=(2, 2 * T, B))


def another(network, T=T, B=B):
    """Return a network with the same weights, a zero state and workspaces of its own."""
    return Network(network.config, network.parameters, T, B)


def same(value, wanted):
    """Fail unless the two are equal but for rounding, which another place in memory may change."""
    np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-14)


def loss_and_gradient(network, inputs, targets):
    """Run `n` = len(inputs) steps forward and back; return copies of loss, logits and gradient."""
    logits = network.forward(teacher_forcing(inputs), len(inputs))
    loss = float(network.loss.forward(logits, targets))
    network.backward(network.loss.backward())
    return loss, logits.copy(), network.gradient.flat.copy()


class TestChunks:
    def test_two_chunks_with_carried_state_are_one_long_sequence(self, network, text):
        inputs, targets = text
        long = another(network, 2 * T)
        long.state = network.state
        whole = float(long.loss.forward(long.forward(teacher_forcing(inputs)), targets))

        losses, logits = [], []
        for chunk in (slice(0, T), slice(T, 2 * T)):
            logits.append(network.forward(teacher_forcing(inputs[chunk])).copy())
            losses.append(float(network.loss.forward(logits[-1], targets[chunk])))
            network.carry()
        assert np.mean(losses) == pytest.approx(whole, rel=1e-13)
        same(np.concatenate(logits), long.logits)
        long.carry()
        same(network.state, long.state)

    def test_uneven_chunks_are_one_long_sequence_too(self, network, text):
        inputs, _ = text
        long = another(network, 2 * T)
        long.state = network.state
        long.forward(teacher_forcing(inputs))
        long.carry()
        for chunk in (slice(0, 2), slice(2, 7), slice(7, 10)):
            n = chunk.stop - chunk.start
            logits = network.forward(teacher_forcing(inputs[chunk]), n)
            same(logits, long.logits[chunk])
            network.carry(n)
        same(network.state, long.state)

    def test_gradients_do_not_cross_from_one_chunk_into_the_one_before(self, network, text):
        inputs, targets = text
        first, second = slice(0, T), slice(T, 2 * T)
        start = network.state
        network.forward(teacher_forcing(inputs[first]))
        network.carry()

        # The gradient of the second chunk takes the state it starts from as a constant.
        rows = check_network(network, teacher_forcing(inputs[second]), targets[second])
        assert all(row.passed for row in rows)

        # Through both chunks in one, the gradient of the second chunk's loss is another.
        long = another(network, 2 * T)
        long.state = start
        long.forward(teacher_forcing(inputs))
        long.loss.forward(long.logits[second], targets[second])
        dlogits = np.zeros_like(long.logits)
        dlogits[second] = long.loss.backward()
        long.backward(dlogits)
        assert relative_error(network.gradient.flat, long.gradient.flat) > 1e-3

    def test_a_backward_pass_leaves_nothing_behind_for_the_next(self, network, text):
        """The gradient is that of one chunk, not a sum; the walk back starts from zero each time."""
        inputs, targets = text
        for chunk in (slice(0, T), slice(T, 2 * T)):
            fresh = another(network)
            fresh.state = network.state
            expected = loss_and_gradient(fresh, inputs[chunk], targets[chunk])
            result = loss_and_gradient(network, inputs[chunk], targets[chunk])
            for value, wanted in zip(result, expected, strict=True):
                same(value, wanted)
            network.carry()

    def test_a_pass_after_a_longer_one_sees_nothing_of_it(self, network, text):
        inputs, targets = text
        loss_and_gradient(network, inputs[:T], targets[:T])
        n = 2
        fresh = another(network)
        fresh.state = network.state
        expected = loss_and_gradient(fresh, inputs[T : T + n], targets[T : T + n])
        result = loss_and_gradient(network, inputs[T : T + n], targets[T : T + n])
        for value, wanted in zip(result, expected, strict=True):
            same(value, wanted)

    def test_the_same_chunk_again_gives_the_same_again(self, network, text):
        """Neither pass moves the state that the chunk starts from; only `carry` does."""
        inputs, targets = text
        before = network.state
        first = loss_and_gradient(network, inputs[:T], targets[:T])
        np.testing.assert_array_equal(network.state, before)
        for value, wanted in zip(loss_and_gradient(network, inputs[:T], targets[:T]), first, strict=True):
            np.testing.assert_array_equal(value, wanted)
        network.carry()
        assert (network.state != before).all()


class TestState:
    def test_what_is_set_is_what_is_read(self, network, generator):
        values = generator.normal(size=network.config.state_shape(B))
        network.state = values
        np.testing.assert_array_equal(network.state, values)

    def test_what_is_read_is_a_copy(self, network):
        kept = network.state
        copy = kept.copy()
        network.reset()
        np.testing.assert_array_equal(kept, copy)

    def test_reset_sets_it_to_zero(self, network, text):
        assert network.state.any()
        network.reset()
        assert not network.state.any()
        inputs = text[0, :T]
        same(network.forward(teacher_forcing(inputs)), another(network).forward(teacher_forcing(inputs)))

    def test_it_goes_on_from_where_it_was_read(self, network, text):
        inputs, _ = text
        network.forward(teacher_forcing(inputs[:T]))
        network.carry()
        other = another(network)
        other.state = network.state
        feed = teacher_forcing(inputs[T:])
        same(other.forward(feed), network.forward(feed))

    def test_a_state_of_the_wrong_number_of_layers_is_refused(self, network):
        with pytest.raises(ValueError, match="zip"):
            network.state = network.state[:1]


class TestFeed:
    def test_step_by_step_is_the_same_as_a_whole_chunk(self, network, text):
        """Generation runs a network of T = 1; training one of a whole chunk. They are the same code."""
        inputs = text[0, :T]
        single = another(network, 1)
        single.state = network.state
        whole = network.forward(teacher_forcing(inputs))
        for t in range(T):
            same(single.step(0, inputs[t]), whole[t])
            single.carry()

    def test_the_feed_of_step_t_sees_the_logits_of_step_t_minus_1(self, network, text):
        inputs = text[0, :T]
        seen = []

        def feed(t, logits):
            seen.append((t, logits.copy()))
            return inputs[t]

        logits = network.forward(feed)
        assert [t for t, _ in seen] == list(range(T))
        for t in range(1, T):
            np.testing.assert_array_equal(seen[t][1], logits[t - 1])

    def test_it_may_feed_what_the_model_predicts(self, network):
        network.forward(lambda t, logits: logits.argmax(axis=0) if t else np.array([1, 2]))
        np.testing.assert_array_equal(network.fed[0], [1, 2])
        np.testing.assert_array_equal(network.fed[1:], network.logits[:-1].argmax(axis=1))


class TestBatch:
    def test_permuting_the_sequences_permutes_the_logits(self, cell, generator):
        B, order = 4, [2, 0, 3, 1]
        network = toy_network(Config(V, **cell, rnn_size=H, num_layers=2), T, B, generator)
        inputs = generator.integers(V, size=(T, B))
        permuted = another(network, B=B)
        permuted.state = network.state[..., order]
        logits = network.forward(teacher_forcing(inputs))
        same(permuted.forward(teacher_forcing(inputs[:, order])), logits[..., order])

    def test_a_sequence_does_not_see_its_neighbour(self, network, text):
        inputs = text[0, :T]
        logits = network.forward(teacher_forcing(inputs)).copy()
        changed = inputs.copy()
        changed[:, 1] = (changed[:, 1] + 1) % V
        state = network.state
        state[..., 1] += 0.1
        network.state = state
        again = network.forward(teacher_forcing(changed))
        np.testing.assert_array_equal(again[..., 0], logits[..., 0])
        assert (again[..., 1] != logits[..., 1]).all()


class TestDropoutInTheNetwork:
    @pytest.fixture
    def dropping(self, cell, generator):
        return toy_network(Config(V, **cell, rnn_size=H, num_layers=2, dropout=0.4), T, B, generator)

    def test_it_acts_between_the_layers_and_before_the_read_out(self, dropping, text):
        """Where a unit is always dropped, its columns in layer 2 and in ``readout.W`` get no gradient."""
        inputs, targets = text
        for dropout in dropping.dropouts:
            dropout.mask[...] = 1.0
            dropout.mask[:, 1] = 0.0
        loss_and_gradient(dropping, inputs[:T], targets[:T])
        gradient = dict(dropping.gradient.items())
        assert not gradient["readout.W"][:, 1].any()
        assert gradient["readout.W"][:, [0, 2]].all()
        first_input = 0 if "layer2.U" in gradient else H  # column of W where the inputs begin
        assert not gradient["layer2.W"][:, first_input + 1].any()
        assert gradient["layer2.W"][:, [first_input, first_input + 2]].all()

    def test_it_does_not_act_on_the_carried_state(self, dropping, text):
        """With all of layer 1 dropped, layer 1 still hears itself: its state moves as without dropout."""
        inputs, _ = text
        undropped = another(dropping)
        undropped.state = dropping.state
        for dropout in dropping.dropouts:
            dropout.mask[...] = 0.0
        for network in (dropping, undropped):
            network.forward(teacher_forcing(inputs[:T]))
            network.carry()
        same(dropping.state[0], undropped.state[0])
        assert (dropping.state[1] != undropped.state[1]).all()

    def test_a_network_that_never_draws_masks_drops_nothing(self, dropping, text):
        fresh = another(dropping)
        feed = teacher_forcing(text[0, :T])
        without = Network(
            Config(V, fresh.config.model, H, 2, 0.0, fresh.config.gru_reset), fresh.parameters, T, B
        )
        same(fresh.forward(feed), without.forward(feed))
