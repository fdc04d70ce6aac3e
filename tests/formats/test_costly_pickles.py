"""Test that a small pickle cannot make minichar use much time or memory."""

import os
import pickle
import pickletools
import struct
import tracemalloc

import numpy as np
import pytest
from handmade import PROTOCOLS, same, text

from minichar.errors import MinicharError
from minichar.formats import arrays, pickle_program, pickles
from minichar.formats.arrays import read_pickled


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"", "it is empty, truncated or corrupted"),
        (b"\x80\x02X\xff", "it is empty, truncated or corrupted"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 30), "it is truncated"),
        (b"\x80\x04.", "it has trailing data"),
    ],
)
def test_a_corrupted_start_is_reported_before_the_rest_is_read(tmp_path, start, words):
    path = tmp_path / "x.pkl"
    path.write_bytes(start)
    os.truncate(path, 1 << 30)  # NULs, which take up no space on the disk
    tracemalloc.start()
    with pytest.raises(MinicharError, match=words):
        read_pickled(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_shared_and_recursive_containers_are_rejected_quickly(read_pickle):
    laughs = np.arange(2)
    for _ in range(30):
        laughs = [laughs] * 10
    with pytest.raises(MinicharError, match=r"levels of nesting|times the file size"):
        read_pickle(pickle.dumps(laughs))
    nothing = []
    for _ in range(30):
        nothing = [nothing] * 10
    with pytest.raises(MinicharError, match="too many elements for the file size"):
        read_pickle(pickle.dumps(nothing))
    itself = []
    itself.append(itself)
    with pytest.raises(MinicharError, match="more than 32 levels of nesting"):
        read_pickle(pickle.dumps(itself))


def test_a_frequently_used_byte_string_is_not_copied(read_pickle, monkeypatch):
    """Python 2 pickles store bytes as text, which must be encoded to create an array."""
    text = b"X" + struct.pack("<I", 1 << 16) + b"a" * (1 << 16) + b"\x940"
    array = b"cnumpy.core.numeric\n_frombuffer\n(h\x00cnumpy\ndtype\nX\2\0\0\0f4\x85RM\x00\x40\x85t\x52"
    encoded = b"c_codecs\nencode\nh\x00X\6\0\0\0latin1\x86R"
    for thing in (array, encoded):
        program = b"\x80\x04" + text + b"(" + thing * 500 + b"l."
        tracemalloc.start()
        with pytest.raises(MinicharError, match=r"4 times the file size|no arrays"):
            read_pickle(program)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(program)
        tracemalloc.stop()


def test_shared_values_are_converted_once_and_limited(read_pickle):
    losses, a = [2.5, 1.5, 1.0], np.zeros(1000)
    found, _ = read_pickle(pickle.dumps({"a": losses, "b": losses, **{str(i): a for i in range(4)}}))
    assert found["a"] is found["b"]
    with pytest.raises(MinicharError, match="more than 4 times the file size"):
        read_pickle(pickle.dumps({str(i): a for i in range(100)}))


FREE = b"\x95" + bytes(8)
"""The opcode FRAME, which makes the file larger but takes no memory."""
EACH = {
    "None": b"N0",
    "a mark": b"(1",
    "a list": b"]0",
    "a tuple": b"NN\x860",
    "the memo": b"q\x01",
    "a reference": b"20",
    "an appended item": FREE + b"h\x01a",
    "a call": FREE * 9 + b"h\x00)R0",
}


@pytest.mark.parametrize("code", EACH.values(), ids=EACH.keys())
def test_a_value_costs_memory_even_if_it_is_dropped(read_pickle, monkeypatch, code):
    start = b"\x80\x02cnumpy\nndarray\nq\x000]q\x01"
    monkeypatch.setattr(pickles, "HEADROOM", 1000)
    with pytest.raises(MinicharError, match=r"no arrays|levels of nesting"):
        read_pickle(start + code + b".")
    with pytest.raises(MinicharError, match="more memory than the file size allows"):
        read_pickle(start + code * 2000 + b".")


def test_an_item_of_a_dict_costs_memory(read_pickle, monkeypatch):
    monkeypatch.setattr(pickles, "HEADROOM", 1000)
    items = [FREE * 8 + b"M" + struct.pack("<H", key) + b"Ns" for key in range(256, 2256)]
    with pytest.raises(MinicharError, match="more memory than the file size allows"):
        read_pickle(b"\x80\x02}" + b"".join(items) + b".")


@pytest.mark.parametrize(
    "opcode",
    [text("a" * 70_000 + "😀"), b"V" + b"a" * 70_000 + rb"\U0001f600" + b"\n"],
    ids=["UTF-8", "escaped"],
)
def test_wide_text_is_rejected_before_it_is_decoded(read_pickle, monkeypatch, opcode):
    monkeypatch.setattr(pickles, "HEADROOM", 100_000)
    tracemalloc.start()
    with pytest.raises(MinicharError, match="more memory than the file size allows"):
        read_pickle(b"\x80\x02" + opcode + b".")
    assert tracemalloc.get_traced_memory()[1] < 5 * len(opcode)
    tracemalloc.stop()


def test_the_text_of_a_large_array_is_not_wide(read_pickle, monkeypatch):
    """Protocols 0 to 2 store an array as text, using the characters U+0000 to U+00FF."""
    data = {"a": np.tile(np.arange(256, dtype="u1"), 300)}
    monkeypatch.setattr(pickles, "HEADROOM", 10_000)
    for protocol in PROTOCOLS:
        same(read_pickle(pickle.dumps(data, protocol))[0], data)


def test_the_length_of_a_line_is_limited(read_pickle, monkeypatch):
    monkeypatch.setattr(pickle_program, "MAX_TEXT_LINE", 100)
    with pytest.raises(MinicharError, match="overlong line"):
        read_pickle(b"V" + b"a" * 100 + b"\n.")
    with pytest.raises(MinicharError, match="overlong line"):
        read_pickle(b"F" + b"1" * (1 << 16) + b"\n.")


def test_the_number_of_opcodes_is_limited(read_pickle, monkeypatch):
    data = pickle.dumps({"a": np.arange(3), "n": list(range(100))})
    opcodes = sum(1 for _ in pickletools.genops(data))
    monkeypatch.setattr(pickles, "MAX_OPCODES", opcodes)
    assert len(read_pickle(data)[0]) == 2
    monkeypatch.setattr(pickles, "MAX_OPCODES", opcodes - 1)
    with pytest.raises(MinicharError, match=f"more than {opcodes - 1:,} opcodes"):
        read_pickle(data)


@pytest.mark.parametrize(("limit", "n", "unit"), [("MAX_BYTES", None, "bytes"), ("MAX_VALUES", 2, "values")])
def test_the_size_and_the_number_of_values_are_limited(read_pickle, monkeypatch, limit, n, unit):
    data = pickle.dumps({"a": np.arange(3), "b": "text"})
    n = n or len(data)
    monkeypatch.setattr(arrays, limit, n)
    assert len(read_pickle(data)[0]) == 1
    monkeypatch.setattr(arrays, limit, n - 1)
    with pytest.raises(MinicharError, match=f"(larger|more) than {n - 1:,} {unit}"):
        read_pickle(data)
