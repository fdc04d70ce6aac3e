import numpy as np
import pytest

from minichar.engine.config import Config
from minichar.engine.gradcheck import toy_network
from minichar.training.scheduled_sampling import SS_FEEDS, ScheduledSampling

V, TRUE, OTHER = 4, 0, 3


def certain(character, B):
    """Return logits ``(V, B)`` that give `character` a probability of 1."""
    logits = np.full((V, B), -50.0)
    logits[character] = 50.0
    return logits


@pytest.fixture
def fed(backend):
    """Return a function that computes the input ids ``(T, B)``: TRUE if forced, OTHER if predicted."""

    def run(ratio, T=20, B=60, feed="sample", seed=1):
        inputs = backend.to_device(np.full((T, B), TRUE))
        next_ids = ScheduledSampling(inputs, feed, backend)
        next_ids.draw_mask(ratio, backend.uniform(seed))
        logits = backend.to_device(certain(OTHER, B))
        return np.stack([backend.to_host(next_ids(t, lambda: logits)) for t in range(T)])

    return run


@pytest.mark.parametrize("feed", SS_FEEDS)
def test_the_mask(feed, fed):
    """Except for the first step, it is drawn independently for every step and sequence."""
    assert (fed(1.0, feed=feed) == TRUE).all()
    ids = fed(0.0, feed=feed)
    assert (ids[0] == TRUE).all()
    assert (ids[1:] == OTHER).all()
    true = fed(0.8, B=100, feed=feed)[1:] == TRUE  # (T-1, B)
    # The mean of 19 · 100 = 1900 draws has a standard deviation of √(0.8 · 0.2 / 1900) = 0.009.
    assert true.mean() == pytest.approx(0.8, abs=0.036)
    true = fed(0.5, feed=feed)[1:] == TRUE
    for axis in (0, 1):
        assert true.any(axis=axis).all()
        assert not true.all(axis=axis).any()
    np.testing.assert_array_equal(fed(0.5, feed=feed, seed=7), fed(0.5, feed=feed, seed=7))
    assert (fed(0.5, feed=feed, seed=7) != fed(0.5, feed=feed, seed=8)).any()


@pytest.mark.parametrize("feed", SS_FEEDS)
def test_each_chunk_draws_a_new_mask_into_the_same_array(feed, backend, host):
    """A replayed step reads the mask and the random numbers from their captured addresses."""
    mixed = ScheduledSampling(backend.to_device(np.zeros((20, 30), int)), feed, backend)
    uniform, (mask, u) = backend.uniform(1), (mixed.mask, mixed.u)
    mixed.draw_mask(0.5, uniform)
    before = host(mask).copy(), host(u).copy()
    mixed.draw_mask(0.5, uniform)
    assert mixed.mask is mask
    assert mixed.u is u
    assert (host(mask) != before[0]).any()
    assert (host(u) != before[1]).any() == (feed == "sample")


def test_the_inputs_are_read_at_each_step(backend, host):
    inputs = backend.zeros((3, 2), "int64")
    mixed = ScheduledSampling(inputs, "argmax", backend)
    mixed.draw_mask(1.0, backend.uniform(1))
    inputs[...] = backend.to_device(np.arange(6).reshape(3, 2))
    logits = backend.to_device(certain(OTHER, 2))
    for t in range(3):
        np.testing.assert_array_equal(host(mixed(t, lambda: logits)), [2 * t, 2 * t + 1])


def test_sample_draws_from_the_distribution_of_the_model(backend, host):
    p, B = np.array([0.1, 0.2, 0.3, 0.4]), 10_000
    logits = backend.to_device(np.repeat(np.log(p)[:, None], B, axis=1))
    next_ids = ScheduledSampling(backend.zeros((3, B), "int64"), "sample", backend)
    next_ids.draw_mask(0.0, backend.uniform(1))
    first, second = (host(next_ids(t, lambda: logits)) for t in (1, 2))
    for ids in (first, second):
        # Each fraction has a standard deviation of at most √(0.4 · 0.6 / 10000) = 0.005.
        np.testing.assert_allclose(np.bincount(ids) / B, p, atol=0.02)
    assert (first != second).mean() == pytest.approx(1 - (p**2).sum(), abs=0.02)  # steps are independent


def test_argmax_feeds_the_most_likely_character_of_the_previous_step(backend, host, generator):
    T, B, V = 5, 2, 8
    network = toy_network(Config(V, rnn_size=3, num_layers=2), T, B, generator, backend)
    inputs = backend.to_device(generator.integers(V, size=(T, B)))
    feed = ScheduledSampling(inputs, "argmax", backend)
    feed.draw_mask(0.0, backend.uniform(1))
    network.forward(feed)
    fed = host(network.fed)
    np.testing.assert_array_equal(fed[0], host(inputs)[0])
    np.testing.assert_array_equal(fed[1:], host(network.logits())[:-1].argmax(axis=1))
