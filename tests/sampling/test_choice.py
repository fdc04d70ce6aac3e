from itertools import accumulate, product

import numpy as np
import pytest
from devices import open_device

from minichar import MinicharError
from minichar.sampling.choice import Choice


def naive_probabilities(logits, temperature, top_k, top_p, min_p):
    """Return each character's probability for one column of logits, computed naively."""
    weights = np.exp((logits - logits.max()) / temperature)
    likeliest_first = sorted(range(len(logits)), key=lambda k: -weights[k])
    kept = likeliest_first[: top_k or None]
    total = sum(weights[k] for k in kept)
    before = list(accumulate([weights[k] for k in kept], initial=0.0))
    kept = [k for k, so_far in zip(kept, before, strict=False) if so_far < top_p * total]
    kept = [k for k in kept if weights[k] / weights.sum() >= min_p * (weights / weights.sum()).max()]
    p = np.zeros(len(logits))
    p[kept] = weights[kept]
    return p / p.sum()


def frequencies(choice, logits, n=4000):
    """Return each character's frequency over n evenly spaced values of u, accurate to 1/n."""
    u = (np.arange(n) + 0.5) / n
    ids = choice.ids(np.repeat(logits[:, None], n, axis=1), u)
    return np.bincount(ids, minlength=len(logits)) / n


def test_characters_are_sampled_with_the_expected_probabilities(generator):
    top_ps, min_ps = (1e-9, 0.5, 0.8, 1 - 1e-12, 1.0), (0, 0.05, 0.3, 1)
    for options in product((0.5, 1.0, 3.0), (0, 1, 4, 7, 100), top_ps, min_ps):
        logits = generator.normal(0, 2, size=7)
        expected = naive_probabilities(logits, *options)
        found = frequencies(Choice(*options), logits)
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert not found[expected == 0].any()


@pytest.mark.parametrize("name", ["cupy-double", pytest.param("gpu", marks=pytest.mark.gpu)])
def test_ids_are_the_same_on_a_gpu(name, generator):
    """Other devices sample on the host."""
    device = open_device(name)
    logits, u = generator.normal(0, 2, size=(7, 50)), generator.random(50)
    logits[1] = logits[0]  # equal logits are ranked by id
    logits[4] = -np.inf
    for choice in (
        Choice(argmax=True),
        Choice(0.5),
        Choice(top_k=2),
        Choice(2.0, top_k=5, top_p=0.6, min_p=0.3),
    ):
        ids = choice.ids(device.to_device(logits), device.to_device(u), xp=device.xp)
        assert device.to_host(ids).tolist() == choice.ids(logits, u).tolist()


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.25, [0]), (0.26, [0, 1]), (0.5, [0, 1]), (0.51, [0, 1, 2]), (0.75, [0, 1, 2])]
)
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p, kept):
    """With four equal logits, one character reaches exactly 0.25 and two reach 0.5, so no more are kept."""
    assert np.flatnonzero(frequencies(Choice(top_p=top_p), np.zeros(4))).tolist() == kept


@pytest.mark.parametrize(
    ("min_p", "kept"), [(0, [0, 1, 2, 3]), (0.25, [0, 1, 2, 3]), (0.26, [0, 3]), (1, [0, 3])]
)
def test_min_p_keeps_characters_that_reach_this_fraction_of_the_largest_probability(min_p, kept):
    logits = np.log([1.0, 0.25, 0.25, 1.0])
    assert np.flatnonzero(frequencies(Choice(min_p=min_p), logits)).tolist() == kept


def test_extreme_temperatures(generator):
    logits = generator.normal(size=(8, 100))
    for tiny in (1e-3, 1e-300, 5e-324):
        ids = Choice(tiny).ids(logits, generator.random(100))
        assert ids.tolist() == logits.argmax(axis=0).tolist()
    for huge in (1e6, 1e300, 1.7e308):
        np.testing.assert_allclose(frequencies(Choice(huge), logits[:, 0]), 1 / 8, atol=1e-3)


def test_masked_characters_are_never_sampled(generator):
    logits = generator.normal(size=(6, 40))
    logits[[0, 3, 5]] = -np.inf
    for t, u in product((1e-300, 1.0, 1.7e308), (0.0, 0.5, np.nextafter(1, 0))):
        for choice in (Choice(t), Choice(t, top_k=5), Choice(t, top_p=1 - 1e-16), Choice(t, min_p=1e-300)):
            assert set(choice.ids(logits.copy(), np.full(40, u))) <= {1, 2, 4}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        *(({"temperature": t}, "temperature") for t in (0, -1, float("nan"), float("inf"))),
        ({"top_k": -1}, "top.k"),
        ({"argmax": 1}, "argmax is 1; it must be True or False"),
        *(({"top_p": p}, "top.p") for p in (0, -0.1, 1.1, float("nan"))),
        *(({"min_p": p}, "min.p") for p in (-0.1, 1.1, float("nan"))),
    ],
    ids=str,
)
def test_values_out_of_range_are_rejected(options, words):
    with pytest.raises(MinicharError, match=words):
        Choice(**options)
