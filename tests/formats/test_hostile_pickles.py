"""Test that hostile and corrupted pickles are refused with a one-line error."""

import contextlib
import os
import pickle
import struct

import numpy as np
import pytest
from handmade import declared, same, text

from minichar.errors import MinicharError


class Call:
    """Object that is pickled as a function call."""

    def __reduce__(self):
        return os.system, ("touch evil",)


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def lists(*values):
    """Return pickle opcodes that push a list of values."""
    return b"(" + b"".join(values) + b"l"


def knot():
    """Return pickle opcodes that push a tuple. Hashing or printing it would take 2¹⁰⁰ steps."""
    value = ()
    for _ in range(100):
        value = (value, value)
    return pickle.dumps(value, 4)[11:-1]


KNOT = knot()
BIG = b"\x8a\x11" + b"\xff" * 16 + b"\x01"
"""Opcode that pushes an integer too large for any dtype, so a list with it cannot become an array."""
HUGE_TIMES_ZERO = b"K\x00\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86"
KEY = "neither a 64-bit integer nor a string of at most 255 characters"
LINE = "a string without quotes|a truncated or overlong line"
CORRUPTED = "it is empty, truncated or corrupted"
NOTHING = "it contains no arrays"
REFUSED = {
    "os.system": (pickle.dumps(Call()), r"it refers to '(posix|nt)\.system'"),
    "eval, protocol 0": (b"c__builtin__\neval\n(S'1+1'\ntR.", r"refers to '__builtin__\.eval'"),
    "inst": (b"(S'touch evil'\nios\nsystem\n.", "opcode INST 'os system'"),
    "nested name": (b"\x80\x04" + short("numpy") + short("dtype.mro") + b"\x93.", r"to 'numpy\.dtype\.mro'"),
    "two lines": (b"\x80\x04" + short("a\nb") + short("c" * 200) + b"\x93.", r"refers to 'a\\nb\.ccc"),
    "a knot as a name": (KNOT + b"\x8c\x01a\x93.", "not a string"),
    "persistent": (b"Pname\n.", "opcode PERSID"),
    "set": (pickle.dumps({1, 2}), "opcode EMPTY_SET"),
    "two pickles": (pickle.dumps(np.arange(2)) * 2, "trailing data"),
    "objects": (pickle.dumps(np.array([{}], dtype=object)), "dtype 'O8'"),
    "list of dtypes": (b"\x80\x04cnumpy\ndtype\n" + short("f4,f4") + b"\x85R.", "with dtype 'f4,f4'"),
    "a knot as a dtype": (b"cnumpy\ndtype\n" + KNOT + b"\x85R.", "dtype a tuple"),
    "a long byte order": (
        b"\x80\x02cnumpy\ndtype\n" + text("f4") + b"\x85R(K\x03" + text("<" * 99) + b"tb.",
        "unknown byte order",
    ),
    "many arguments": (b"\x80\x02cnumpy\nndarray\n(" + b"N" * 9 + b"tR.", "more than 8 arguments"),
    "arguments in a list": (b"\x80\x02cnumpy\ndtype\n" + lists(text("f4")) + b"R.", "not a function"),
    "a list as a dict": (b"\x80\x02]K\x00Ns.", "not a dict"),
    "bytes as a list": (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"aK\x01a.", "not a list"),
    "dict of pairs": (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", CORRUPTED),
    "key without a value": (b"\x80\x02}(K\x01u.", CORRUPTED),
    "huge key": (pickle.dumps({1 << 63: np.arange(2)}), KEY),
    "long key": (b"\x80\x02}" + text("a" * 256) + b"Ns.", KEY),
    "long Chinese key": (b"\x80\x02}" + text("詩" * 256) + b"Ns.", KEY),
    "a knot as a key": (b"}" + KNOT + b"Ns.", KEY),
    "equal keys": (b"\x80\x02}X\1\0\0\0001NsK\x01Ns.", "the duplicate key '1'"),
    "clash": (pickle.dumps({"a": {"b": np.arange(2)}, "a.b": np.arange(3)}), "'a.b' is a duplicate"),
    "unprintable": (pickle.dumps({"a\0b": np.arange(2)}), "not printable"),
    "a list that is converted many times": (
        b"\x80\x02" + lists(b"K\x01" * 1000, BIG) + b"q\x000" + lists(b"h\x00" * 1000) + b".",
        "too many elements",
    ),
    "nothing": (pickle.dumps({"note": "text"}), NOTHING),
    "array never filled": (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", NOTHING),
    "array created from a number": (b"\x80\x02cnumpy\nndarray\nK\x00\x85R.", NOTHING),
    "cupy array of text": (b"\x80\x02ccupy._core.core\narray\nU\x01a\x85R.", "not created from a NumPy"),
    "size huge times zero": (declared(HUGE_TIMES_ZERO), "but 8 bytes of data"),
    "no data for huge times zero": (declared(HUGE_TIMES_ZERO, data=b""), "it contains a corrupted array"),
    "one element too many": (declared(b"K\x03\x85"), r"with shape \(3,\) but 8 bytes of data"),
    "many axes": (declared(b"(" + b"K\x02" * 200 + b"t"), "an invalid shape"),
    "negative size": (declared(b"J\xff\xff\xff\xff\x85"), "an invalid shape"),
    "fractional size": (declared(b"G" + struct.pack(">d", 2.0) + b"\x85"), "an invalid shape"),
    "no shape": (declared(b"N"), "an invalid shape"),
    "a knot as a shape": (declared(KNOT), "invalid shape"),
    "text of 2⁶² bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.", "truncated"),
    "2³² bytes": (b"\x80\x04B" + struct.pack("<I", (1 << 32) - 1) + b"abc.", "truncated"),
    "a frame of 2⁶² bytes": (b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.", NOTHING),
    "a memo with 2³² entries": (b"\x80\x02Nr\xff\xff\xff\xff.", NOTHING),
    **{f"line {line}": (line, LINE) for line in (b"Sabc\n.", b"S'abc\n.", b"S'\n.", b"S'abc'", b"Vabc")},
    "too few values": (b"\x80\x02N\x86.", "it pops more values than are on the stack"),
    "a call without a function": (b"R.", "it pops more values than are on the stack"),
    "an item without a dict": (b"\x80\x02]K\x01s.", CORRUPTED),
    "a call of nothing": (b"\x80\x02NNR.", "not a function"),
    "a dtype without a state": (b"\x80\x02cnumpy\ndtype\nU\x02f4\x85RNb.", CORRUPTED),
    **{f"program {program}": (program, CORRUPTED) for program in (b"", b".", b"h\x07.", b"t.")},
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_hostile_or_corrupted_pickle_is_refused_in_one_line(read_pickle, tmp_path, monkeypatch, case):
    program, message = case
    monkeypatch.chdir(tmp_path)
    refused = "is not a pickle of arrays that minichar can read: "
    with pytest.raises(MinicharError, match=f"{refused}.*({message})") as caught:
        read_pickle(program)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert os.listdir() == ["weights.pkl"]


def test_an_array_with_the_correct_shape_is_read(read_pickle):
    same(read_pickle(declared(b"K\x02\x85"))[0], {"arr_0": np.zeros(2, dtype="f4")})


def test_truncated_and_changed_pickles_are_read_or_refused(read_pickle, on_gpu, generator):
    data = pickle.dumps({"W": on_gpu(np.arange(6.0)), "n": [1, 2], "m": np.float32(1)}, 2)
    for at in range(generator.integers(4), len(data), 4):
        with pytest.raises(MinicharError, match=r"^[^\n]+$"):
            read_pickle(data[:at])
        spoiled = bytearray(data)
        spoiled[at] = generator.integers(256)
        with contextlib.suppress(MinicharError):
            read_pickle(bytes(spoiled))
