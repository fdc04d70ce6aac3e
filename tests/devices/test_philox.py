"""Tests for the random numbers that are drawn on a GPU."""

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.devices.philox import Philox, encrypt, float32, float64

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


@pytest.mark.parametrize(("function", "each"), [(float32, 4), (float64, 2)])
def test_the_seed_is_the_key(function, each):
    (wanted,) = function(np, np.arange(5, dtype="uint64")[None], *numbers("89abcdef 01234567"))
    wanted = np.concatenate(wanted).ravel()
    for shape in ((each * 5,), (each * 5 - 1,), (1,), (0,), ()):  # the last number does not always fit
        out = np.full(shape, np.nan, function.__name__)
        Philox(CPU).fill(out, 0x123456789ABCDEF, function)
        np.testing.assert_array_equal(out.ravel(), wanted[: out.size])
