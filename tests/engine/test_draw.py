import numpy as np
import pytest

from minichar.engine import draw as module

JUST_BELOW_1 = np.nextafter(1.0, 0.0)


@pytest.fixture
def draw(backend):
    """Return a version of `draw` that runs on the device but takes and returns host arrays."""

    def drawn(logits, u):
        return backend.to_host(module.draw(backend.xp, backend.to_device(logits), backend.to_device(u)))

    return drawn


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


def test_evenly_spaced_numbers_draw_each_character_in_proportion_to_its_probability(draw):
    logits, N = np.array([0.3, -1.0, 2.0, 0.0, -3.0]), 10_000
    u = (np.arange(N) + 0.5) / N
    ids = draw(np.repeat(logits[:, None], N, axis=1), u)
    np.testing.assert_allclose(np.bincount(ids), N * softmax(logits), atol=1)
    assert (np.diff(ids) >= 0).all()  # a larger u never draws an earlier character


def test_each_column_has_a_different_distribution(draw):
    logits = np.log(np.array([[0.1, 0.7], [0.2, 0.2], [0.7, 0.1]]))  # (V, B)
    for u, ids in (([0.65, 0.65], [2, 0]), ([0.05, 0.95], [0, 2]), ([0.15, 0.75], [1, 1])):
        np.testing.assert_array_equal(draw(logits, np.array(u)), ids)
    huge = np.array([[1e4, -1e4], [0.0, 0.0]])
    np.testing.assert_array_equal(draw(huge, np.array([0.5, 0.5])), [0, 1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_logit_of_minus_infinity_is_never_drawn(dtype, draw, generator):
    """In float32, a `u` just below 1 rounds to 1, which must not select an impossible character."""
    possible, u = [[0], [2], [4], [1, 3], [0, 4]], [0.0, 1e-300, 0.5, JUST_BELOW_1]
    columns = [(ids, number) for ids in possible for number in u]
    logits = np.full((5, len(columns)), -np.inf, dtype)  # (V, B)
    for b, (ids, _) in enumerate(columns):
        logits[ids, b] = generator.normal(size=len(ids))
    drawn = draw(logits, np.array([number for _, number in columns]))
    for k, (ids, number) in zip(drawn, columns, strict=True):
        assert k in {0.0: ids[:1], JUST_BELOW_1: ids[-1:]}.get(number, ids)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_logit_of_minus_infinity_is_never_drawn_from_a_large_vocabulary(dtype, draw, backend, generator):
    if backend.kind == "gpu":
        pytest.skip("a parallel cumulative sum rounds neighbouring elements differently")
    logits = generator.normal(size=(7000, 40)).astype(dtype)
    logits[-100:] = -np.inf
    logits[::2] = -np.inf
    u = np.where(np.arange(40) % 2, JUST_BELOW_1, generator.random(40))
    ids = draw(logits, u)
    assert np.isfinite(logits[ids, np.arange(40)]).all()


def test_likeliest_is_the_argmax_of_each_column(backend, host):
    logits = backend.to_device(np.array([[0.0, 3.0], [5.0, -np.inf], [1.0, 2.0]]))  # (V, B)
    np.testing.assert_array_equal(host(module.likeliest(logits)), [1, 0])
