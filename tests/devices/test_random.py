"""Tests for uniform random numbers on every device."""

import json

import numpy as np
import pytest

from minichar.devices.cpu import CPU, host_generator
from minichar.devices.random import CountedUniform


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_numbers_are_uniform(dtype, backend, host):
    N = 20_000
    uniform = backend.uniform(1, 2)
    numbers = np.concatenate([host(uniform.random((N // 4, 2), dtype)).ravel() for _ in range(2)])
    assert numbers.dtype == dtype
    assert numbers.shape == (N,)
    assert numbers.min() >= 0
    assert numbers.max() <= 1
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    chi_square = ((counts - N / 10) ** 2 / (N / 10)).sum()
    assert chi_square < 27.9  # the 99.9th percentile for 9 degrees of freedom
    # Successive numbers are uncorrelated, and so are the two blocks.
    for lag in (1, 2, N // 2):
        correlation = np.corrcoef(numbers[lag:], numbers[:-lag])[0, 1]
        assert abs(correlation) < 4 / np.sqrt(N - lag)


def test_the_default_dtype_is_float64(backend):
    assert str(backend.uniform(1).random((2,)).dtype) == "float64"


def test_the_numbers_depend_on_the_seed_words(backend, host):
    def numbers(*words):
        return host(backend.uniform(*words).random((50,)))

    np.testing.assert_array_equal(numbers(1, 2), numbers(1, 2))
    for other in ((1,), (2, 1), (1, 3), (1, 2, 1)):
        assert (numbers(*other) != numbers(1, 2)).all()


def test_two_streams_are_independent(backend, host):
    alone = backend.uniform(1)
    wanted = [host(alone.random((4,))) for _ in range(3)]
    first, second = backend.uniform(1), backend.uniform(2)
    for numbers in wanted:
        np.testing.assert_array_equal(host(first.random((4,))), numbers)
        second.random((9,))


def test_consecutive_blocks_differ(backend, host):
    uniform = backend.uniform(1)
    assert (host(uniform.random((50,))) != host(uniform.random((50,)))).all()


def test_a_state_restored_from_json_continues_the_stream(backend, host):
    uniform = backend.uniform(1)
    uniform.random((3, 2), "float32")
    state = json.loads(json.dumps(uniform.state))
    wanted = [host(uniform.random((4,), dtype)) for dtype in ("float32", "float64", "float32")]
    other = backend.uniform(1)
    other.state = state
    for numbers in wanted:
        np.testing.assert_array_equal(host(other.random((4,), str(numbers.dtype))), numbers)


def test_the_returned_state_is_a_copy(backend):
    uniform = backend.uniform(1)
    state = uniform.state
    uniform.random((3,))
    assert uniform.state != state


@pytest.mark.parametrize("state", [{}, {"blocks": "many"}, {"blocks": -1}, None])
def test_an_invalid_state_is_rejected(state, backend):
    """The trainer converts each of these exceptions to a one-line error."""
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError, OverflowError)):
        backend.uniform(1).state = state


def test_the_host_uses_numpy_generators():
    wanted = np.random.default_rng((3, 4)).random(5)
    np.testing.assert_array_equal(host_generator(3, 4).random(5), wanted)
    np.testing.assert_array_equal(CPU.uniform(3, 4).random((5,)), wanted)


def test_each_block_has_a_64_bit_seed():
    seeds = []
    uniform = CountedUniform((1, 2), lambda seed, shape, dtype: seeds.append(seed))
    for _ in range(20):
        uniform.random((3,))
    assert len({*seeds}) == 20
    assert 1 << 60 < max(seeds) < 1 << 64
