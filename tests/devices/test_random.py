"""Tests for uniform random numbers on every device."""

import json

import numpy as np
import pytest

from minichar.devices.cpu import CPU, host_generator
from minichar.devices.random import ColumnsOf, CountedUniform


def test_the_numbers_depend_on_the_seed_words_alone(backend, host):
    def numbers(*words):
        return host(backend.uniform(*words).random((50,)))

    first, second = backend.uniform(1, 2), backend.uniform(2)
    second.random((9,))
    np.testing.assert_array_equal(numbers(1, 2), host(first.random((50,), "float64")))
    for other in ((1,), (2, 1), (1, 3), (1, 2, 1)):
        assert (numbers(*other) != numbers(1, 2)).all()


def test_a_state_restored_from_json_continues_the_stream(backend, host):
    uniform = backend.uniform(1)
    uniform.random((3, 2), "float32")
    state = uniform.state
    saved = json.loads(json.dumps(state))
    wanted = [host(uniform.random((4,), dtype)) for dtype in ("float32", "float64", "float32")]
    assert state == saved  # is a copy
    other = backend.uniform(1)
    other.state = state
    for numbers in wanted:
        np.testing.assert_array_equal(host(other.random((4,), str(numbers.dtype))), numbers)


LAYOUTS = {
    "contiguous": lambda zeros, dtype: zeros((4, 6), dtype),
    "odd size": lambda zeros, dtype: zeros((3, 5), dtype),
    "strided": lambda zeros, dtype: zeros((4, 12), dtype)[:, ::2],
    "transposed": lambda zeros, dtype: zeros((6, 4), dtype).T,
}


class TestArrays:
    """Methods that fill an array draw the same numbers as `random`, whatever the layout of the array."""

    @pytest.fixture(params=LAYOUTS)
    def layout(self, request):
        return LAYOUTS[request.param]

    @pytest.fixture
    def uniform(self, backend):
        return backend.uniform(1, 2)

    @pytest.fixture
    def numbers(self, backend, host):
        """Return a function that returns the first block of random numbers, and the state after the block."""

        def numbers(shape, dtype):
            uniform = backend.uniform(1, 2)
            return host(uniform.random(shape, dtype)), uniform.state

        return numbers

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_fill_and_drop(self, dtype, layout, uniform, numbers, backend, host):
        out = layout(backend.zeros, dtype)
        u, state = numbers(out.shape, dtype)
        uniform.fill(out)
        np.testing.assert_array_equal(host(out), u)
        assert uniform.state == state
        u, state = numbers(out.shape, "float32")
        for p in (0.0, 0.3, 1.0 - 2.0**-24):
            uniform, value = backend.uniform(1, 2), 1.0 / (1.0 - p)
            uniform.drop(p, value, out)
            np.testing.assert_array_equal(host(out), (u >= p).astype(dtype) * value)
            assert uniform.state == state

    def test_the_probability_of_a_drop_is_rounded_to_float32(self, uniform, numbers, backend, host):
        out = backend.zeros((4, 6), "float32")
        u, _ = numbers(out.shape, "float32")
        uniform.drop(float(u[1, 2]) + 1e-12, 1.0, out)
        np.testing.assert_array_equal(host(out), u >= u[1, 2])

    def test_bernoulli(self, layout, numbers, backend, host):
        out = layout(backend.zeros, bool)
        u, state = numbers(out.shape, "float64")
        for p in (0.0, 0.3, 1.0 - 2.0**-53, 1.0):
            uniform = backend.uniform(1, 2)
            uniform.bernoulli(p, out)
            np.testing.assert_array_equal(host(out), u < p)
            assert uniform.state == state

    def test_the_probability_of_true_is_a_float64(self, uniform, numbers, backend, host):
        out = backend.zeros((4, 6), bool)
        u, _ = numbers(out.shape, "float64")
        for p in (u[1, 2], np.nextafter(u[1, 2], 1.0)):
            uniform.state = backend.uniform(1, 2).state
            uniform.bernoulli(float(p), out)
            np.testing.assert_array_equal(host(out), u < p)

    def test_columns(self, layout, uniform, numbers, backend, host):
        """The masks of some columns are those columns of the masks drawn for the whole batch."""
        whole = [layout(backend.zeros, dtype) for dtype in ("float64", "float32", bool)]
        rows, B = whole[0].shape
        part = [backend.zeros((rows, 2), dtype) for dtype in ("float64", "float32", bool)]
        for generator, (u, dropped, true) in (
            (uniform, whole),
            (ColumnsOf(backend.uniform(1, 2), slice(1, 3), B, backend.zeros), part),
        ):
            generator.fill(u)
            generator.drop(0.4, 2.0, dropped)
            generator.bernoulli(0.4, true)
        for some, every in zip(part, whole, strict=True):
            np.testing.assert_array_equal(host(some), host(every)[:, 1:3])


@pytest.mark.parametrize("state", [{}, {"blocks": "many"}, {"blocks": -1}, None])
@pytest.mark.parametrize("uniform", [CPU.uniform(1), CountedUniform((1,))])
def test_an_invalid_state_is_rejected(uniform, state):
    """The trainer converts each of these exceptions to a one-line error."""
    with pytest.raises((AttributeError, KeyError, TypeError, ValueError, OverflowError)):
        uniform.state = state


def test_the_host_uses_numpy_generators():
    wanted = np.random.default_rng((3, 4)).random(5)
    np.testing.assert_array_equal(host_generator(3, 4).random(5), wanted)
    np.testing.assert_array_equal(CPU.uniform(3, 4).random((5,)), wanted)


def test_each_block_has_a_64_bit_seed():
    uniform = CountedUniform((1, 2))
    seeds = [uniform.next_seed() for _ in range(20)]
    assert len({*seeds}) == 20
    assert 1 << 60 < max(seeds) < 1 << 64
