"""Test the conversion of arrays that are not a model."""

import pickle

import numpy as np
import pytest
from converting import contents, convert

from minichar.checkpoints.archive import write_archive
from minichar.errors import MinicharError


def test_plain_arrays_are_converted(tmp_path):
    arrays = {
        "W": np.arange(6.0).reshape(2, 3),
        "k": np.arange(3),
        "mask": np.array([True]),
        "z": np.array(1j),
    }
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays)  # cupy.savez calls this
    same = convert(path, tmp_path / "same.npz").path
    half = convert(path, tmp_path / "half.npz", dtype="float16").path
    assert {name: (array.dtype, array.tolist()) for name, array in contents(same).items()} == {
        name: (array.dtype, array.tolist()) for name, array in arrays.items()
    }
    assert {name: str(array.dtype) for name, array in contents(half).items()} == {
        "W": "float16",
        "k": "int64",
        "mask": "bool",
        "z": "complex128",
    }


def test_plain_arrays_too_large_for_the_dtype_are_rejected(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, W=np.array([np.inf, 1.0]))
    convert(path, tmp_path / "half.npz", dtype="float16")  # infinity is also infinity in float16
    for name, shown in (("W", ": W"), ("x" * 1000, r": x{48}\.\.\.x{49}")):
        np.savez(path, **{name: np.array([1e6])})
        with pytest.raises(MinicharError, match=f"{shown} has values that float16 cannot represent"):
            convert(path, tmp_path / "other.npz", dtype="float16")
    assert not (tmp_path / "other.npz").exists()


def test_a_vocabulary_for_plain_arrays_is_rejected(tmp_path):
    np.savez(tmp_path / "plain.npz", W=np.arange(3))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"W": 3.5}))
    for name in ("plain.npz", "plain.pkl"):
        with pytest.raises(MinicharError, match=rf"{name} contains arrays but no model: omit vocab_from$"):
            convert(tmp_path / name, tmp_path / "new.npz", vocab_from="nothing")
    assert not (tmp_path / "new.npz").exists()


def test_an_array_cannot_be_named_header(tmp_path):
    """It would be read as minichar's header."""
    np.savez(tmp_path / "plain.npz", header=np.arange(3), W=np.arange(3))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"header": 3.5}))
    for name in ("plain.npz", "plain.pkl"):
        with pytest.raises(MinicharError, match=r"an array named header, a name reserved .*: rename it$"):
            convert(tmp_path / name, tmp_path / "new.npz")
    assert not (tmp_path / "new.npz").exists()
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"header": "skipped", "a": {"header": 3.5}}))
    assert contents(convert(tmp_path / "plain.pkl", tmp_path / "new.npz").path).keys() == {"a.header"}


def test_array_names_are_not_restricted(tmp_path):
    """`numpy.savez` rejects these names because they clash with its own parameters."""
    path = tmp_path / "odd.npz"
    write_archive(path, {}, {"file": np.arange(2), "allow_pickle": np.arange(3)})
    copy = contents(convert(path, tmp_path / "copy.npz").path)
    assert {name: array.tolist() for name, array in copy.items()} == {
        "file": [0, 1],
        "allow_pickle": [0, 1, 2],
    }


def test_a_name_that_cannot_be_printed_is_escaped(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, **{"\x1b[31m": [1e9]})
    with pytest.raises(MinicharError, match=r"contains '\\x1b\[31m\.npy', which is not a valid array name"):
        convert(path, tmp_path / "half.npz", dtype="float16")
