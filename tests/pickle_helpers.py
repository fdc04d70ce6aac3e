"""Helpers for the tests of pickles."""

import pickle
import struct

import numpy as np

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(found[name], array)


def declared(shape, dtype=b"f4", data=b"\0" * 8):
    """Return a pickle of an array with the given shape, dtype and data."""
    start = b"\x80\x04cnumpy.core.numeric\n_frombuffer\n(C" + bytes([len(data)]) + data
    return start + b"cnumpy\ndtype\nX\2\0\0\0" + dtype + b"\x85R" + shape + b"X\1\0\0\0CtR."


def text(characters):
    """Return a pickle opcode that pushes a string."""
    encoded = characters.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded
