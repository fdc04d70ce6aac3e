import numpy as np
import pytest

from minichar.backend import CPU
from minichar.engine.config import Config
from minichar.engine.gradcheck import toy_network
from minichar.training.scheduled_sampling import SS_FEEDS, scheduled_sampling

V, TRUE, OTHER = 4, 0, 3


def certain(character, B):
    """Return logits ``(V, B)`` of a model that is sure of one character."""
    logits = np.full((V, B), -50.0)
    logits[character] = 50.0
    return logits


def fed(share, T=50, B=40, feed="sample", seed=1):
    """Return what is fed ``(T, B)`` where the text is all TRUE and the model sure of OTHER."""
    inputs = np.full((T, B), TRUE)
    next_ids = scheduled_sampling(inputs, share, feed, np.random.default_rng(seed), CPU)
    return np.array([next_ids(t, certain(OTHER, B)) for t in range(T)])


@pytest.mark.parametrize("feed", SS_FEEDS)
class TestTheCoin:
    def test_a_share_of_one_feeds_the_text(self, feed):
        assert (fed(1.0, feed=feed) == TRUE).all()

    def test_a_share_of_zero_feeds_the_model_after_the_first_character(self, feed):
        ids = fed(0.0, feed=feed)
        assert (ids[0] == TRUE).all()
        assert (ids[1:] == OTHER).all()

    def test_true_characters_have_their_share(self, feed):
        true = fed(0.8, feed=feed)[1:] == TRUE
        # 49 · 40 = 1960 coins; the standard deviation of the share is √(0.8 · 0.2 / 1960) = 0.009
        assert true.mean() == pytest.approx(0.8, abs=0.036)

    def test_there_is_a_coin_for_each_character(self, feed):
        """Not one for a whole step, nor one for a whole sequence."""
        true = fed(0.5, feed=feed)[1:] == TRUE  # (T-1, B)
        for axis in (0, 1):
            assert true.any(axis=axis).all()
            assert not true.all(axis=axis).any()

    def test_the_seed_decides(self, feed):
        np.testing.assert_array_equal(fed(0.5, feed=feed, seed=7), fed(0.5, feed=feed, seed=7))
        assert (fed(0.5, feed=feed, seed=7) != fed(0.5, feed=feed, seed=8)).any()


def test_a_true_character_comes_from_its_own_place_in_the_text(generator):
    inputs = generator.integers(3, size=(50, 40))
    next_ids = scheduled_sampling(inputs, 0.5, "argmax", generator, CPU)
    ids = np.array([next_ids(t, certain(OTHER, 40)) for t in range(50)])
    np.testing.assert_array_equal(ids[ids != OTHER], inputs[ids != OTHER])


def test_sample_draws_from_the_distribution_of_the_model(generator):
    p, B = np.array([0.1, 0.2, 0.3, 0.4]), 10_000
    logits = np.repeat(np.log(p)[:, None], B, axis=1)
    next_ids = scheduled_sampling(np.zeros((3, B), int), 0.0, "sample", generator, CPU)
    first, second = next_ids(1, logits), next_ids(2, logits)
    for ids in (first, second):
        # The standard deviation of a share is at most √(0.4 · 0.6 / 10000) = 0.005
        np.testing.assert_allclose(np.bincount(ids) / B, p, atol=0.02)
    assert (first != second).mean() == pytest.approx(1 - (p**2).sum(), abs=0.02)  # drawn anew each step


def test_argmax_takes_the_likeliest(generator):
    logits = generator.normal(size=(V, 40))
    next_ids = scheduled_sampling(np.zeros((2, 40), int), 0.0, "argmax", generator, CPU)
    np.testing.assert_array_equal(next_ids(1, logits), logits.argmax(axis=0))


class TestInTheNetwork:
    T, B, V, H = 5, 2, 8, 3

    def run(self, cell, generator, share):
        network = toy_network(
            Config(self.V, **cell, rnn_size=self.H, num_layers=2), self.T, self.B, generator
        )
        inputs, targets = generator.integers(self.V, size=(2, self.T, self.B))  # each (T, B)
        logits = network.forward(scheduled_sampling(inputs, share, "argmax", generator, CPU))
        network.loss.forward(logits, targets)
        network.backward(network.loss.backward())
        return network, inputs

    def test_argmax_feeds_the_likeliest_of_the_step_before(self, cell, generator):
        network, inputs = self.run(cell, generator, 0.0)
        np.testing.assert_array_equal(network.fed[0], inputs[0])
        np.testing.assert_array_equal(network.fed[1:], network.logits[:-1].argmax(axis=1))

    def test_the_gradient_lands_on_the_characters_that_were_fed(self, cell, generator):
        network, inputs = self.run(cell, generator, 0.3)
        assert set(network.fed.flat) != set(inputs.flat)
        touched = network.gradient["layer1.Wx"].any(axis=0)  # (V,)
        np.testing.assert_array_equal(np.flatnonzero(touched), np.unique(network.fed))
