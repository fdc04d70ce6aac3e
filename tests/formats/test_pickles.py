import collections
import io
import pickle
import pickletools
import warnings

import numpy as np
import pytest
from converting import convert
from handmade import PROTOCOLS, declared, same, text

from minichar.errors import MinicharError
from minichar.formats import arrays as arrays_format
from minichar.formats import pickles, stand_ins
from minichar.formats.convert import load_model


@pytest.mark.parametrize("on_gpu", ["cupy._core.core", "cupy.core.core"], indirect=True)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cupy_arrays_become_numpy_arrays(read_pickle, on_gpu, generator, protocol):
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
    found, notes = read_pickle(pickle.dumps({name: on_gpu(host) for name, host in hosts.items()}, protocol))
    same(found, hosts)
    assert notes == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nested_containers_become_named_arrays(read_pickle, on_gpu, protocol):
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
    found, notes = read_pickle(pickle.dumps(saved, protocol))
    expected = dict.fromkeys(("params.W", "params.out", "params.0", "layers.0", "layers.1.0"), a)
    expected |= {
        "layers.1.1": 3,
        "losses": np.array([2.5, 1.5]),
        "epoch": 7,
        "rate": np.float32(0.5),
        "done": True,
    }
    same(found, expected)
    assert notes == ("skipped non-numeric values: note, none, raw, empty, huge and 1 more",)


def test_numpy_1_and_2_names_are_supported(read_pickle):
    data = pickle.dumps({"a": np.arange(3.0), "s": np.float64(2)}, 2)
    assert b"numpy._core" in data or b"numpy.core" in data
    for other in (b"numpy._core", b"numpy.core"):
        renamed = data.replace(b"numpy._core", b"numpy.core").replace(b"numpy.core", other)
        same(read_pickle(renamed)[0], {"a": np.arange(3.0), "s": 2.0})


def test_python_2_pickles_store_bytes_as_text(read_pickle):
    array = np.arange(2.0)
    program = b"".join(
        [
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R",
            b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89U\x10" + array.tobytes() + b"tb.",
        ]
    )
    same(read_pickle(program)[0], {"arr_0": array})


def test_arrays_from_the_installed_cupy_are_supported():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        core = pytest.importorskip("cupy._core.core", reason="requires cupy-cuda12x, but no GPU")
    named = [argument for opcode, argument, _ in pickletools.genops(pickle.dumps(core.array, 2)) if argument]
    assert "cupy._core.core array" in named
    assert "cupy._core.core.array" in stand_ins.KNOWN


def test_arrays_without_a_model_are_converted_only_to_npz(tmp_path):
    path = tmp_path / "weights.pickle"
    path.write_bytes(pickle.dumps({"a": np.arange(3.0)}))
    with pytest.raises(MinicharError, match=r"arrays but no model: convert it to \.npz"):
        convert(path, tmp_path / "weights.onnx")
    with pytest.raises(MinicharError, match="contains no model: minichar reads only arrays from pickles"):
        load_model(path)
    with pytest.raises(MinicharError, match=r"cannot write .*: \.pkl is read-only; use \.npz$"):
        convert(path, tmp_path / "copy.pkl")
    with pytest.raises(MinicharError, match=r"cannot read [^\n]+$"):
        arrays_format.read_pickled(tmp_path)


def test_long_text_becomes_bytes_and_is_skipped(read_pickle):
    """Many arrays can reference the same text, so it is converted when it is read."""
    for n, expected in ((256, b"\xe9" * 256), (255, "é" * 255)):
        assert pickles.run(io.BytesIO(b"\x80\x02" + text("é" * n) + b"."), {}) == expected
    same(read_pickle(pickle.dumps({"é" * 255: np.arange(2)}))[0], {"é" * 255: np.arange(2)})
    note = {"a": np.arange(2), "english": "a" * 300, "chinese": "詩" * 300, "emoji": "😀" * 300}
    for protocol in PROTOCOLS:
        assert read_pickle(pickle.dumps(note, protocol))[1] == (
            "skipped non-numeric values: english, chinese, emoji",
        )


def test_python_2_strings_can_contain_any_byte(read_pickle):
    """Protocol 0 quotes strings and escapes non-ASCII bytes."""
    data = bytes(range(256)) * 2
    quoted = repr(data)[1:].encode()  # as in Python 2
    array = declared(b"K\x40\x85", b"f8").split(b"C")[0]
    program = array + b"S" + quoted + b"\n" + declared(b"K\x40\x85", b"f8").split(b"\0" * 8)[1]
    np.testing.assert_array_equal(read_pickle(program)[0]["arr_0"], np.frombuffer(data, "f8"))
