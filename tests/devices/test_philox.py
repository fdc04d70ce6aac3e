"""Tests for the random numbers that are drawn on a GPU."""

import numpy as np
import pytest
from test_fusion import TracedCuPy

from minichar.devices.cpu import CPU
from minichar.devices.cupy import CuPyBackend
from minichar.devices.philox import Philox, PhiloxUniform, bernoulli, drop, encrypt, float32, float64
from minichar.devices.random import CountedUniform

# From the known answers of Random123, the reference implementation: counter, key and result.
KNOWN = (
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
)


def numbers(text):
    return [np.array([int(word, 16)], "uint64") for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN)
def test_the_known_answers(counter, key, result):
    assert encrypt(*numbers(counter), *numbers(key)) == tuple(numbers(result))


@pytest.mark.parametrize(("function", "each"), [(float32, 4), (float64, 2)])
def test_numbers_are_the_leading_bits_of_the_words(function, each):
    i, k0, k1 = np.arange(5, dtype="uint64")[None], *numbers("7 9")
    words = np.concatenate(encrypt(i, i ^ i, i ^ i, i ^ i, k0, k1)).astype(object)  # (4, 5)
    wanted = (
        words >> 8 if each == 4 else np.array([(a >> 5 << 26) + (b >> 6) for a, b in (words[:2], words[2:])])
    )
    (found,) = function(np, i, k0, k1)
    np.testing.assert_array_equal(
        np.concatenate(found) * 2.0 ** (24 if each == 4 else 53), wanted.astype(float)
    )


@pytest.fixture
def traced():
    """CuPy namespace that interprets the kernels."""
    xp = TracedCuPy()
    xp.empty, xp.arange = np.empty, np.arange
    return xp


SEED = 0x123456789ABCDEF


def draw(seed, shape, dtype):
    """Return random numbers drawn on the CPU."""
    out = np.empty(shape, dtype)
    Philox(CPU).fill(out, seed, float32 if dtype == "float32" else float64)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
class TestFill:
    def test_a_gpu_uses_one_kernel_and_draws_the_same_numbers(self, dtype, traced):
        uniform = PhiloxUniform((1,), Philox(CuPyBackend(0, traced)))
        wanted = [draw(CountedUniform((1,)).next_seed(), shape, dtype) for shape in ((4, 6), (3, 5))]
        for numbers in wanted:
            uniform.state = {"blocks": 0}
            out = np.zeros(numbers.shape, dtype)
            uniform.fill(out)
            np.testing.assert_array_equal(out, numbers)
        uniform.state = {"blocks": 0}
        np.testing.assert_array_equal(uniform.random((3, 5), dtype), wanted[-1])
        (kernel,) = traced.kernels
        assert len(kernel.in_params) == 3 + (4 if dtype == "float32" else 2)

    def test_the_numbers_are_uniform_and_differ_between_seeds(self, dtype):
        first, second, third = (draw(seed, (20_001,), dtype) for seed in (1, 2, 1 + (1 << 32)))
        for u in (first, second, third):
            assert u.min() >= 0
            assert u.max() < 1
            np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / len(u), 0.1, atol=0.01)
        for u in (second, third):
            assert abs(np.corrcoef(first, u)[0, 1]) < 0.03
        assert len(set(first.tolist())) > 19_900

    @pytest.mark.parametrize("shape", [(), (0, 3), (7,), (2, 3, 5), (4, 6)])
    def test_any_shape(self, dtype, shape):
        out = np.full(shape, np.nan, dtype)
        Philox(CPU).fill(out, 1, float32 if dtype == "float32" else float64)
        assert ((out >= 0) & (out < 1)).all()


@pytest.mark.parametrize("shape", [(4, 6), (3, 5)])
class TestMasks:
    """One kernel draws the numbers and computes the mask. It is compiled once for all probabilities."""

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_drop(self, shape, dtype, traced):
        philox, u = Philox(CuPyBackend(0, traced)), draw(SEED, shape, "float32")
        for p in (0.0, 0.4, float(u.flat[2]) + 1e-12):
            mask, value = np.full(shape, np.nan, dtype), 1.0 / (1.0 - p)
            philox.fill(mask, SEED, drop, np.float32(p), mask.dtype.type(value))
            np.testing.assert_array_equal(mask, (u >= p).astype(dtype) * value)
        (kernel,) = traced.kernels
        assert len(kernel.in_params) == 5 + 4

    def test_bernoulli(self, shape, traced):
        philox, u = Philox(CuPyBackend(0, traced)), draw(SEED, shape, "float64")
        for p in (0.0, 0.4, u.flat[2], 1.0):
            mask = np.full(shape, p == 0.0)
            philox.fill(mask, SEED, bernoulli, np.float64(p))
            np.testing.assert_array_equal(mask, u < p)
        (kernel,) = traced.kernels
        assert len(kernel.in_params) == 4 + 2
