import collections
import contextlib
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
import types
import warnings

import numpy as np
import pytest
from converting import convert

from minichar.errors import MinicharError
from minichar.formats import arrays as arrays_format
from minichar.formats import pickle_program, pickles, stand_ins
from minichar.formats.convert import load_model

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def on_gpu(request, monkeypatch):
    """Return a class whose instances are pickled as a call to ``array``, like CuPy arrays."""
    module = getattr(request, "param", "cupy._core.core")
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(parts[end - 1]))

    def array(host):
        raise AssertionError("CuPy was called")

    array.__module__, array.__qualname__ = module, "array"
    sys.modules[module].array = array

    class OnGPU:
        def __init__(self, host):
            self.host = host

        def __reduce__(self):
            return array, (self.host,)

    return OnGPU


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return a function that saves pickle data and reads it with the `pickle` module disabled."""

    def forbidden(*args, **kwargs):
        raise AssertionError("the pickle was unpickled")

    def read(data):
        path = tmp_path / "weights.pkl"
        path.write_bytes(data)
        with monkeypatch.context() as patched:
            patched.setattr(pickle, "loads", forbidden)
            patched.setattr(pickle, "load", forbidden)
            patched.setattr(pickle, "Unpickler", forbidden)
            return arrays_format.read_pickled(path)

    return read


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("on_gpu", ["cupy._core.core", "cupy.core.core"], indirect=True)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cupy_arrays_become_numpy_arrays(read, on_gpu, generator, protocol):
    hosts = {
        "W": generator.normal(size=(3, 4)).astype("float32"),
        "b": generator.normal(size=(1, 3)).T,
        "U": np.asfortranarray(generator.normal(size=(2, 3))).astype("float16", order="K"),
        "k": generator.integers(100, size=5),
        "mask": np.array([True, False]),
        "z": np.array([1 + 2j]),
        "big": np.arange(3, dtype=">f4"),
        "cube": generator.normal(size=(2, 3, 4)).transpose(1, 0, 2),
        "one": np.array(2.5),
        "none": np.zeros((0, 3)),
    }
    found, notes = read(pickle.dumps({name: on_gpu(host) for name, host in hosts.items()}, protocol))
    same(found, hosts)
    assert notes == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nested_containers_become_named_arrays(read, on_gpu, protocol):
    a = np.arange(6.0).reshape(2, 3)
    tied = on_gpu(a)
    saved = collections.OrderedDict(
        params={"W": tied, "out": tied, 0: a},
        layers=[a, (a, 3)],
        losses=[2.5, 1.5],
        epoch=7,
        rate=np.float32(0.5),
        done=True,
        note="text",
        none=None,
        raw=b"bytes",
        empty=[],
        huge=10**40,
        mixed=[1.0, 10**400],
    )
    found, notes = read(pickle.dumps(saved, protocol))
    expected = {
        "params.W": a,
        "params.out": a,
        "params.0": a,
        "layers.0": a,
        "layers.1.0": a,
        "layers.1.1": 3,
    }
    expected |= {"losses": np.array([2.5, 1.5]), "epoch": 7, "rate": np.float32(0.5), "done": True}
    same(found, expected)
    assert notes == ("skipped non-numeric values: note, none, raw, empty, huge and 1 more",)


def test_a_single_array_has_numpys_default_name(read, on_gpu):
    a = np.arange(3)
    same(read(pickle.dumps(on_gpu(a)))[0], {"arr_0": a})


def test_numpy_1_and_2_names_are_supported(read):
    data = pickle.dumps({"a": np.arange(3.0), "s": np.float64(2)}, 2)
    assert b"numpy._core" in data or b"numpy.core" in data
    for other in (b"numpy._core", b"numpy.core"):
        renamed = data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", other)
        same(read(renamed)[0], {"a": np.arange(3.0), "s": 2.0})


def test_python_2_pickles_store_bytes_as_text(read):
    array = np.arange(2.0)
    program = b"".join(
        [
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
            b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89U\x10" + array.tobytes() + b"tb.",
        ]
    )
    same(read(program)[0], {"arr_0": array})


def test_arrays_from_the_installed_cupy_are_supported():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        core = pytest.importorskip("cupy._core.core", reason="requires cupy-cuda12x, but no GPU")
    named = [argument for opcode, argument, _ in pickletools.genops(pickle.dumps(core.array, 2)) if argument]
    assert "cupy._core.core array" in named
    assert "cupy._core.core.array" in stand_ins.KNOWN


def test_convert_writes_a_plain_npz(tmp_path, on_gpu):
    path = tmp_path / "weights.pkl"
    path.write_bytes(
        pickle.dumps({"file": on_gpu(np.arange(3.0)), "ids": on_gpu(np.arange(3)), "note": "text"})
    )
    converted = convert(path, dtype="float16")
    assert converted.path == tmp_path / "weights.npz"
    assert converted.notes == ("skipped non-numeric values: note",)
    with np.load(converted.path) as arrays:
        same(dict(arrays), {"file": np.arange(3, dtype="float16"), "ids": np.arange(3)})


def test_arrays_without_a_model_are_converted_only_to_npz(tmp_path):
    path = tmp_path / "weights.pickle"
    path.write_bytes(pickle.dumps({"a": np.arange(3.0)}))
    with pytest.raises(MinicharError, match=r"arrays but no model: convert it to \.npz"):
        convert(path, to="onnx")
    with pytest.raises(MinicharError, match="contains no model: minichar reads only arrays from pickles"):
        load_model(path)
    with pytest.raises(MinicharError, match=r"cannot write .*pickles are read-only"):
        convert(path, tmp_path / "copy.pkl")


class Call:
    """Object that is pickled as a function call."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


def short(text):
    return b"\x8c" + bytes([len(text)]) + text.encode()


def chain():
    """Return an object pickled as ``getattr(getattr(numpy.ndarray, "__class__"), "mro")``."""
    return Call(getattr, Call(getattr, np.ndarray, "__class__"), "mro")


HOSTILE = {
    "os.system": (pickle.dumps(Call(os.system, "touch evil")), r"it refers to '(posix|nt)\.system'"),
    "eval": (pickle.dumps({"a": Call(eval, "1+1")}), r"refers to 'builtins\.eval'"),
    "eval, protocol 0": (b"c__builtin__\neval\n(S'1+1'\ntR.", r"refers to '__builtin__\.eval'"),
    "inst": (b"(S'touch evil'\nios\nsystem\n.", "opcode INST 'os system'"),
    "obj": (b"(cos\nsystem\nS'touch evil'\no.", r"refers to 'os\.system'"),
    "getattr": (pickle.dumps(chain()), r"refers to 'builtins\.getattr'"),
    "nested name": (
        b"\x80\x04" + short("numpy") + short("ndarray.__class__") + b"\x93.",
        r"refers to 'numpy\.ndarray\.__class__'",
    ),
    "module in the name": (
        b"\x80\x04" + short("os") + short("path.join") + b"\x93.",
        r"refers to 'os\.path\.join'",
    ),
    "extension": (b"\x80\x02\x82\x01.", "opcode EXT1"),
    "persistent": (b"Pname\n.", "opcode PERSID"),
    "buffers": (b"\x80\x05\x97.", "opcode NEXT_BUFFER"),
    "new object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "opcode NEWOBJ"),
    "torch": (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        r"refers to 'torch\._utils\._rebuild_tensor_v2'",
    ),
    "cupy's other functions": (b"\x80\x02ccupy\nload\n)R.", r"refers to 'cupy\.load'"),
    "objects": (pickle.dumps(np.array([{}], dtype=object)), "dtype 'O8'"),
    "text arrays": (pickle.dumps(np.array(["ab"])), "dtype 'U2'"),
    "records": (pickle.dumps(np.zeros(1, dtype="f4,f4")), "dtype 'V8'"),
    "set": (pickle.dumps({1, 2}), "opcode EMPTY_SET"),
    "two lines": (b"\x80\x04" + short("a\nb") + short("c" * 200) + b"\x93.", r"refers to 'a\\nb\.ccc"),
    "two pickles": (pickle.dumps(np.arange(2)) * 2, "trailing data"),
    "tuple as key": (pickle.dumps({(1, 2): np.arange(2)}), "neither a 64-bit integer nor a string"),
    "huge key": (pickle.dumps({1 << 63: np.arange(2)}), "neither a 64-bit integer nor a string"),
    "clash": (pickle.dumps({"a": {"b": np.arange(2)}, "a.b": np.arange(3)}), "'a.b' is a duplicate"),
    "unprintable": (pickle.dumps({"a\0b": np.arange(2)}), "not printable"),
    "nothing": (pickle.dumps({"note": "text"}), "it contains no arrays"),
    "array never filled": (b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.", "it contains no arrays"),
    "array created from a number": (b"\x80\x02cnumpy\nndarray\nK\x00\x85R.", "it contains no arrays"),
    "cupy array of text": (
        b"\x80\x02ccupy._core.core\narray\nU\x01a\x85R.",
        "not created from a NumPy array",
    ),
}


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_pickles_are_rejected_with_a_one_line_error(read, tmp_path, monkeypatch, case):
    data, message = case
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MinicharError, match=message) as caught:
        read(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert os.listdir() == ["weights.pkl"]


def declared(shape, dtype=b"f4", data=b"\0" * 8):
    """Return a pickle of an array with the given shape, dtype and data."""
    start = b"\x80\x04cnumpy.core.numeric\n_frombuffer\n(C" + bytes([len(data)]) + data
    return start + b"cnumpy\ndtype\nX\2\0\0\0" + dtype + b"\x85R" + shape + b"X\1\0\0\0CtR."


SHAPES = {
    "huge": (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "but 8 bytes of data"),
    "huge times zero": (b"K\x00\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86", "but 8 bytes of data"),
    "one too many": (b"K\x03\x85", r"with shape \(3,\) but 8 bytes of data"),
    "many axes": (b"(" + b"K\x02" * 200 + b"t", "an invalid shape"),
    "negative": (b"J\xff\xff\xff\xff\x85", "an invalid shape"),
    "a fraction": (b"G" + struct.pack(">d", 2.0) + b"\x85", "an invalid shape"),
    "text": (b"X\1\0\0\0a\x85", "an invalid shape"),
    "none": (b"N", "an invalid shape"),
}


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES.keys())
def test_a_wrong_shape_is_rejected_before_memory_is_allocated(read, case):
    shape, message = case
    with pytest.raises(MinicharError, match=message):
        read(declared(shape))


def test_an_array_with_the_correct_shape_is_read(read):
    same(read(declared(b"K\x02\x85"))[0], {"arr_0": np.zeros(2, dtype="f4")})
    with pytest.raises(MinicharError, match="it contains a damaged array"):
        read(declared(b"K\x00\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86", data=b""))


def test_a_declared_length_allocates_no_memory(read):
    for program in (
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
        b"\x80\x04B" + struct.pack("<I", (1 << 32) - 1) + b"abc.",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
        b"\x80\x02Nr\xff\xff\xff\xff.",  # a memo with 2³² entries
    ):
        with pytest.raises(MinicharError, match="not a pickle of arrays"):
            read(program)


def test_shared_and_recursive_containers_are_rejected_quickly(read):
    laughs = np.arange(2)
    for _ in range(30):
        laughs = [laughs] * 10
    with pytest.raises(MinicharError, match=r"levels of nesting|times the file size"):
        read(pickle.dumps(laughs))
    nothing = []
    for _ in range(30):
        nothing = [nothing] * 10
    with pytest.raises(MinicharError, match="too many elements for the file size"):
        read(pickle.dumps(nothing))
    itself = []
    itself.append(itself)
    with pytest.raises(MinicharError, match="more than 32 levels of nesting"):
        read(pickle.dumps(itself))
    keys = ()
    for _ in range(100):
        keys = (keys, keys)  # hashing or printing it would take 2¹⁰⁰ steps
    with pytest.raises(MinicharError, match="neither a 64-bit integer nor a string"):
        read(tuple_key(keys))
    knot = pickle.dumps(keys, 4)[11:-1]
    for program in (knot + b"\x8c\x01a\x93.", b"cnumpy\ndtype\n" + knot + b"\x85R.", declared(knot)):
        with pytest.raises(MinicharError, match=r"not a string|dtype a tuple|invalid shape"):
            read(program)


def test_a_frequently_used_byte_string_is_not_copied(read, monkeypatch):
    """Python 2 pickles store bytes as text, which must be encoded to create an array."""
    text = b"X" + struct.pack("<I", 1 << 16) + b"a" * (1 << 16) + b"\x940"
    array = b"cnumpy.core.numeric\n_frombuffer\n(h\x00cnumpy\ndtype\nX\2\0\0\0f4\x85RM\x00\x40\x85t\x52"
    encoded = b"c_codecs\nencode\nh\x00X\6\0\0\0latin1\x86R"
    for thing in (array, encoded):
        program = b"\x80\x04" + text + b"(" + thing * 500 + b"l."
        tracemalloc.start()
        with pytest.raises(MinicharError, match=r"4 times the file size|no arrays"):
            read(program)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(program)
        tracemalloc.stop()


def tuple_key(keys):
    """Return a pickle of a dict whose key, `keys`, takes too long to hash."""
    return b"\x80\x04}" + pickle.dumps(keys, 4)[11:-1] + b"Ns."


def test_an_array_that_is_used_too_often_is_rejected(read):
    a = np.zeros(1000)
    tied, _ = read(pickle.dumps({str(i): a for i in range(4)}))
    assert len(tied) == 4
    with pytest.raises(MinicharError, match="more than 4 times the file size"):
        read(pickle.dumps({str(i): a for i in range(100)}))


def text(characters):
    """Return a pickle opcode that pushes a string."""
    encoded = characters.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def lists(*values):
    """Return pickle opcodes that push a list of values."""
    return b"(" + b"".join(values) + b"l"


BIG = b"\x8a\x11" + b"\xff" * 16 + b"\x01"
"""Opcode that pushes an integer too large for any dtype, so a list with it cannot become an array."""
COSTLY = {
    "a list that is converted many times": (
        b"\x80\x02" + lists(b"K\x01" * 3000, BIG) + b"q\x000" + lists(b"h\x00" * 3000),
        "too many elements",
    ),
    "a list that is scanned many times": (
        b"\x80\x02" + lists(b"]" * 3000) + b"q\x000" + lists(b"h\x00" * 3000),
        "more than 16,384 values|too many elements",
    ),
    "a long name for each value": (
        b"\x80\x02}" + text("a" * 256) + lists(b"N" * 3000) + b"s",
        "neither a 64-bit integer nor a string of at most 255 characters",
    ),
    "a long name that is not Latin-1": (
        b"\x80\x02}" + text("詩" * 256) + b"Ns",
        "neither a 64-bit integer nor a string of at most 255 characters",
    ),
    "many arguments": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(" + b"N" * 9 + b"tR",
        "more than 8 arguments",
    ),
    "arguments in a list": (b"\x80\x02cnumpy\ndtype\n" + lists(text("f4")) + b"R", "not a function"),
    "a list as a dict": (b"\x80\x02]K\x00Ns", "not a dict"),
    "bytes as a list": (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"aK\x01a", "not a list"),
    "equal keys": (b"\x80\x02}K\x01NsX\1\0\0\0001Ns", "the duplicate key '1'"),
    "a dtype with a long byte order": (
        b"\x80\x02cnumpy\ndtype\n" + text("f4") + b"\x85R(K\x03" + text("<" * 99) + b"tb",
        "unknown byte order",
    ),
}


@pytest.mark.parametrize("case", COSTLY.values(), ids=COSTLY.keys())
def test_programs_that_would_take_long_are_rejected(read, case):
    program, message = case
    with pytest.raises(MinicharError, match=message):
        read(program + b".")


def test_a_key_can_have_255_characters(read):
    same(read(pickle.dumps({"é" * 255: np.arange(2)}))[0], {"é" * 255: np.arange(2)})


def test_a_list_that_is_used_again_is_converted_once(read):
    losses = [2.5, 1.5, 1.0]
    found, _ = read(pickle.dumps({"a": losses, "b": losses, "c": np.zeros(9)}))
    assert found["a"] is found["b"]


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
def test_a_value_costs_memory_even_if_it_is_dropped(read, monkeypatch, code):
    start = b"\x80\x02cnumpy\nndarray\nq\x000]q\x01"
    monkeypatch.setattr(pickles, "HEADROOM", 1000)
    with pytest.raises(MinicharError, match=r"no arrays|levels of nesting"):
        read(start + code + b".")
    with pytest.raises(MinicharError, match="too much memory for the file size"):
        read(start + code * 2000 + b".")


def test_an_item_of_a_dict_costs_memory(read, monkeypatch):
    monkeypatch.setattr(pickles, "HEADROOM", 1000)
    items = [FREE * 8 + b"M" + struct.pack("<H", key) + b"Ns" for key in range(256, 2256)]
    with pytest.raises(MinicharError, match="too much memory for the file size"):
        read(b"\x80\x02}" + b"".join(items) + b".")


def test_long_text_becomes_bytes(read):
    """Many arrays can reference the same text, so it is converted when it is read."""
    assert pickles.run(b"\x80\x02" + text("é" * 256) + b".", {}) == b"\xe9" * 256
    assert pickles.run(b"\x80\x02" + text("é" * 255) + b".", {}) == "é" * 255


@pytest.mark.parametrize(
    "opcode",
    [text("a" * 70_000 + "😀"), b"V" + b"a" * 70_000 + rb"\U0001f600" + b"\n"],
    ids=["UTF-8", "escaped"],
)
def test_wide_text_is_rejected_before_it_is_decoded(read, monkeypatch, opcode):
    monkeypatch.setattr(pickles, "HEADROOM", 100_000)
    tracemalloc.start()
    with pytest.raises(MinicharError, match="too much memory for the file size"):
        read(b"\x80\x02" + opcode + b".")
    assert tracemalloc.get_traced_memory()[1] < 5 * len(opcode)
    tracemalloc.stop()


def test_the_text_of_a_large_array_is_not_wide(read, monkeypatch):
    """Protocols 0 to 2 store an array as text, using the characters U+0000 to U+00FF."""
    data = {"a": np.tile(np.arange(256, dtype="u1"), 300)}
    monkeypatch.setattr(pickles, "HEADROOM", 10_000)
    for protocol in PROTOCOLS:
        same(read(pickle.dumps(data, protocol))[0], data)


def test_long_text_is_skipped(read):
    note = {"a": np.arange(2), "english": "a" * 300, "chinese": "詩" * 300, "emoji": "😀" * 300}
    for protocol in PROTOCOLS:
        assert read(pickle.dumps(note, protocol))[1] == (
            "skipped non-numeric values: english, chinese, emoji",
        )


def test_python_2_strings_can_contain_any_byte(read):
    """Protocol 0 quotes strings and escapes non-ASCII bytes."""
    data = bytes(range(256)) * 2
    quoted = repr(data)[1:].encode()  # as in Python 2
    array = declared(b"K\x40\x85", b"f8").split(b"C")[0]
    program = array + b"S" + quoted + b"\n" + declared(b"K\x40\x85", b"f8").split(b"\0" * 8)[1]
    np.testing.assert_array_equal(read(program)[0]["arr_0"], np.frombuffer(data, "f8"))


@pytest.mark.parametrize("program", [b"Sabc\n.", b"S'abc\n.", b"S'\n.", b"S'abc'", b"Vabc"])
def test_a_damaged_line_is_rejected(read, program):
    with pytest.raises(MinicharError, match=r"a string without quotes|a line that is truncated or too long"):
        read(program)


def test_the_length_of_a_line_is_limited(read, monkeypatch):
    monkeypatch.setattr(pickle_program, "MAX_TEXT_LINE", 100)
    with pytest.raises(MinicharError, match="too long"):
        read(b"V" + b"a" * 100 + b"\n.")
    with pytest.raises(MinicharError, match="too long"):
        read(b"F" + b"1" * (1 << 16) + b"\n.")


def test_the_number_of_opcodes_is_limited(read, monkeypatch):
    assert pickles.MAX_OPCODES == 1 << 20
    data = pickle.dumps({"a": np.arange(3), "n": list(range(100))})
    opcodes = sum(1 for _ in pickletools.genops(data))
    monkeypatch.setattr(pickles, "MAX_OPCODES", opcodes)
    assert len(read(data)[0]) == 2
    monkeypatch.setattr(pickles, "MAX_OPCODES", opcodes - 1)
    with pytest.raises(MinicharError, match=f"more than {opcodes - 1:,} opcodes"):
        read(data)


def test_the_size_of_a_pickle_is_limited(read, monkeypatch):
    data = pickle.dumps({"a": np.arange(3)})
    monkeypatch.setattr(pickles, "MAX_BYTES", len(data))
    assert len(read(data)[0]) == 1
    monkeypatch.setattr(pickles, "MAX_BYTES", len(data) - 1)
    with pytest.raises(MinicharError, match=f"larger than {len(data) - 1:,} bytes"):
        read(data)


REFUSED = r"is not a pickle of arrays that minichar can read: [^\n]+$"
NONSENSE = [
    b"",
    b"\x80\x04",
    b".",
    b"0.",
    b"R.",
    b"\x80\x02NNR.",
    b"\x80\x02}}b.",
    b"\x80\x02cnumpy\ndtype\nU\x02f4\x85RNb.",
    b"h\x07.",
    b"t.",
    b"\x80\x02]K\x01s.",
    b"\x80\x02}(K\x01u.",
    b"cnumpy\n\n.",
    b"not a pickle",
]


@pytest.mark.parametrize("program", NONSENSE)
def test_an_invalid_program_is_a_one_line_error(read, program):
    with pytest.raises(MinicharError, match=REFUSED):
        read(program)


def test_every_truncated_pickle_is_a_one_line_error(read, on_gpu):
    data = pickle.dumps({"W": on_gpu(np.arange(6.0)), "n": [1, 2]})
    for end in range(len(data)):
        with pytest.raises(MinicharError, match=REFUSED):
            read(data[:end])


def test_a_pickle_with_a_changed_byte_is_read_or_rejected(read, on_gpu, generator):
    data = pickle.dumps({"W": on_gpu(np.arange(6.0)), "n": [1, 2], "m": np.float32(1)}, 2)
    for at in range(len(data)):
        spoiled = bytearray(data)
        spoiled[at] = generator.integers(256)
        with contextlib.suppress(MinicharError):
            read(bytes(spoiled))


def test_missing_pickles_and_directories_are_one_line_errors(tmp_path):
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(MinicharError, match=r"cannot read [^\n]+$"):
            arrays_format.read_pickled(path)
