"""Tests for the n-gram losses, against counts made with dictionaries, one character at a time."""

from collections import Counter, defaultdict
from math import log

import numpy as np
import pytest

from minichar.text import ngram
from minichar.text.ngram import Yardstick, ngram_losses, yardstick, yardstick_of


def naive_losses(train, val, V, n_max):
    """Return the losses of `ngram_losses`, from its equation."""
    follows = defaultdict(Counter)  # follows[h][x]
    for stream in train:
        for i, x in enumerate(stream):
            for n in range(1, min(i + 1, n_max) + 1):
                follows[tuple(stream[i - n + 1 : i])][x] += 1

    def p(x, h, n):
        if n == 0:
            return 1 / V
        if len(h) < n - 1:  # the stream has no longer context
            return p(x, h, n - 1)
        lower, counts = p(x, h[1:], n - 1), follows.get(h)
        if counts is None:
            return lower
        return (counts[x] + len(counts) * lower) / (counts.total() + len(counts))

    return [
        np.mean([-log(p(s[i], tuple(s[max(0, i - n + 1) : i]), n)) for s in val for i in range(1, len(s))])
        for n in range(1, n_max + 1)
    ]


@pytest.mark.parametrize("V", [1, 3, 40])
@pytest.mark.parametrize(
    "shapes", [((1, 300), (1, 40)), ((5, 70), (3, 11)), ((7, 2), (4, 9)), ((2, 1), (1, 2))]
)
def test_the_losses_agree_with_the_equation(V, shapes):
    rng = np.random.default_rng(V)
    train, val = (rng.integers(0, V, shape).astype(np.uint8) for shape in shapes)
    train[0] = np.arange(train.shape[1]) % min(V, 2)  # long contexts recur
    losses = ngram_losses(train, val, V, 6)
    assert losses.shape == (6,)
    assert not np.signbit(losses).any()
    np.testing.assert_allclose(losses, naive_losses(train.tolist(), val.tolist(), V, 6), rtol=1e-13)


def test_of_a_longer_text_the_start_of_each_stream_is_used(monkeypatch):
    train, val = (np.random.default_rng(2).integers(0, 3, shape) for shape in ((4, 100), (2, 50)))
    found = yardstick(train, val, 3, most=43)
    assert found == yardstick(train[:, :10], val, 3)
    assert found.counted == 40
    monkeypatch.setattr(ngram, "MOST_COUNTED", 40)
    monkeypatch.setattr(ngram, "MOST_PREDICTED", 20)
    np.testing.assert_array_equal(ngram_losses(train, val, 3), ngram_losses(train[:, :10], val[:, :10], 3))


def test_the_yardstick_is_the_best_of_the_models():
    text = np.frombuffer(b"to be or not to be, that is the question. " * 9, np.uint8)[None]
    losses = ngram_losses(text[:, :300], text[:, 300:], 128)
    found = yardstick(text[:, :300], text[:, 300:], 128)
    assert found == Yardstick(int(losses.argmin()) + 1, losses.min(), 300)
    noise = np.random.default_rng(1).integers(0, 9, (1, 400), np.uint8)
    losses = ngram_losses(noise[:, :300], noise[:, 300:], 9)
    found = yardstick(noise[:, :300], noise[:, 300:], 9)
    assert found == Yardstick(1, losses[0], 300)
    assert losses[0] < losses[-1]
    assert str(Yardstick(6, 1.30149, 9)) == "1.301 (6-gram)"


STORED = {"n": 6, "loss": 1.5, "counted": 9}


@pytest.mark.parametrize(
    "changes",
    [{"n": 0}, {"n": 9}, {"n": 10**4000}, {"loss": "1"}, {"loss": 1.7e308}, {"counted": 0}, {"more": 1}],
)
def test_an_invalid_yardstick_is_ignored(changes):
    assert yardstick_of({"yardstick": STORED}) == Yardstick(6, 1.5, 9)
    assert yardstick_of({"yardstick": STORED | changes}) is None
    for details in ({}, {"yardstick": None}, {"yardstick": 5}, {"yardstick": {"n": 6}}):
        assert yardstick_of(details) is None
