"""Test that hostile and corrupted pickles are rejected with a one-line error."""

import contextlib
import os
import pickle
import struct

import numpy as np
import pytest
from handmade import declared, same

from minichar.errors import MinicharError


class Call:
    """Object that is pickled as a function call."""

    def __reduce__(self):
        return os.system, ("touch evil",)


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


HOSTILE = {
    "os.system": (pickle.dumps(Call()), r"it refers to '(posix|nt)\.system'"),
    "eval, protocol 0": (b"c__builtin__\neval\n(S'1+1'\ntR.", r"refers to '__builtin__\.eval'"),
    "inst": (b"(S'touch evil'\nios\nsystem\n.", "opcode INST 'os system'"),
    "nested name": (b"\x80\x04" + short("numpy") + short("dtype.mro") + b"\x93.", r"to 'numpy\.dtype\.mro'"),
    "persistent": (b"Pname\n.", "opcode PERSID"),
    "objects": (pickle.dumps(np.array([{}], dtype=object)), "dtype 'O8'"),
    "dict of pairs": (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "empty, truncated or corrupted"),
    "list of dtypes": (b"\x80\x04cnumpy\ndtype\n" + short("f4,f4") + b"\x85R.", "with dtype 'f4,f4'"),
    "key without a value": (b"\x80\x02}(K\x01u.", "empty, truncated or corrupted"),
    "too few values": (b"\x80\x02N\x86.", "it pops more values than are on the stack"),
    "set": (pickle.dumps({1, 2}), "opcode EMPTY_SET"),
    "two lines": (b"\x80\x04" + short("a\nb") + short("c" * 200) + b"\x93.", r"refers to 'a\\nb\.ccc"),
    "two pickles": (pickle.dumps(np.arange(2)) * 2, "trailing data"),
    "huge key": (pickle.dumps({1 << 63: np.arange(2)}), "neither a 64-bit integer nor a string"),
    "clash": (pickle.dumps({"a": {"b": np.arange(2)}, "a.b": np.arange(3)}), "'a.b' is a duplicate"),
    "unprintable": (pickle.dumps({"a\0b": np.arange(2)}), "not printable"),
    "nothing": (pickle.dumps({"note": "text"}), "it contains no arrays"),
    "array never filled": (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", "it contains no arrays"),
    "array created from a number": (b"\x80\x02cnumpy\nndarray\nK\x00\x85R.", "it contains no arrays"),
    "cupy array of text": (b"\x80\x02ccupy._core.core\narray\nU\x01a\x85R.", "not created from a NumPy"),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_rejected_with_a_one_line_error(read_pickle, tmp_path, monkeypatch, case):
    data, message = case
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MinicharError, match=message) as caught:
        read_pickle(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert os.listdir() == ["weights.pkl"]


SHAPES = {
    "huge times zero": (b"K\x00\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86", "but 8 bytes of data"),
    "one too many": (b"K\x03\x85", r"with shape \(3,\) but 8 bytes of data"),
    "many axes": (b"(" + b"K\x02" * 200 + b"t", "an invalid shape"),
    "negative": (b"J\xff\xff\xff\xff\x85", "an invalid shape"),
    "a fraction": (b"G" + struct.pack(">d", 2.0) + b"\x85", "an invalid shape"),
    "none": (b"N", "an invalid shape"),
}


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES.keys())
def test_a_wrong_shape_is_rejected_before_memory_is_allocated(read_pickle, case):
    shape, message = case
    with pytest.raises(MinicharError, match=message):
        read_pickle(declared(shape))


def test_an_array_with_the_correct_shape_is_read(read_pickle):
    same(read_pickle(declared(b"K\x02\x85"))[0], {"arr_0": np.zeros(2, dtype="f4")})
    with pytest.raises(MinicharError, match="it contains a corrupted array"):
        read_pickle(declared(b"K\x00\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86", data=b""))


@pytest.mark.parametrize("program", [b"Sabc\n.", b"S'abc\n.", b"S'\n.", b"S'abc'", b"Vabc"])
def test_a_corrupted_line_is_rejected(read_pickle, program):
    with pytest.raises(MinicharError, match=r"a string without quotes|a truncated or overlong line"):
        read_pickle(program)


REFUSED = r"is not a pickle of arrays that minichar can read: [^\n]+$"
NONSENSE = [
    b"",
    b".",
    b"R.",
    b"\x80\x02NNR.",
    b"\x80\x02cnumpy\ndtype\nU\x02f4\x85RNb.",
    b"h\x07.",
    b"t.",
    b"\x80\x02]K\x01s.",
]


@pytest.mark.parametrize("program", NONSENSE)
def test_an_invalid_program_is_a_one_line_error(read_pickle, program):
    with pytest.raises(MinicharError, match=REFUSED):
        read_pickle(program)


def test_truncated_and_changed_pickles_are_read_or_rejected(read_pickle, on_gpu, generator):
    data = pickle.dumps({"W": on_gpu(np.arange(6.0)), "n": [1, 2], "m": np.float32(1)}, 2)
    for at in range(generator.integers(4), len(data), 4):
        with pytest.raises(MinicharError, match=REFUSED):
            read_pickle(data[:at])
        spoiled = bytearray(data)
        spoiled[at] = generator.integers(256)
        with contextlib.suppress(MinicharError):
            read_pickle(bytes(spoiled))
