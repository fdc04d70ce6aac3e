"""Test reading ``.safetensors`` files without the package: the tensors, and the errors for invalid files."""

import json

import handmade
import numpy as np
import pytest
from handmade import raw_safetensors

from minichar.formats import safetensors

HUGE = 1 << 62


@pytest.fixture
def read(tmp_path):
    """Return a function that reads the tensors and the header from the bytes of a file."""

    def read(data):
        path = tmp_path / "state.safetensors"
        path.write_bytes(data)
        with path.open("rb") as file:
            return safetensors.read_tensors(file, len(data))

    return read


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int64", "uint8", "bool"])
def test_the_tensors_are_those_that_the_package_reads(package, read, dtype):
    torch, theirs = package("torch"), package("safetensors.torch")
    state = {"b": torch.randn(2, 3), "a": torch.tensor(1.5), "none": torch.zeros(0, 4)}
    state = {name: tensor.to(getattr(torch, dtype)) for name, tensor in state.items()}
    found, header = read(theirs.save(state, {"minichar": "{}"}))
    assert header == "{}"
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        expected = (tensor.float() if dtype == "bfloat16" else tensor).numpy()
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


def test_a_file_without_metadata_has_no_header(read):
    found, header = read(handmade.safetensors({"a": np.arange(3.0)}))
    np.testing.assert_array_equal(found["a"], np.arange(3.0))
    assert header is None


def one(dtype="F32", shape=(2,), data_offsets=(0, 8), data=bytes(8), name="w"):
    """Return a file with one tensor."""
    entry = {"dtype": dtype, "shape": shape, "data_offsets": data_offsets}
    return raw_safetensors(json.dumps({name: entry}), data)


def two(first, second):
    """Return a file with 16 bytes of data and two tensors at the given offsets."""
    entries = {
        name: {"dtype": "U8", "shape": [offsets[1] - offsets[0]], "data_offsets": offsets}
        for name, offsets in (("a", first), ("b", second))
    }
    return raw_safetensors(json.dumps(entries), bytes(16))


SIZE = "the size of the file does not match its tensors"
OFFSETS = "leave gaps, overlap, or do not match the shapes"
BAD = {
    "empty": (b"", "truncated, or not a .safetensors file"),
    "a header larger than the file": (b"\xff" * 8 + b"{}", "truncated, or not a .safetensors file"),
    "not JSON": (raw_safetensors("{{{{"), "header is not JSON"),
    "float8": (one("F8_E4M3", (8,)), "tensor 'w' has dtype 'F8_E4M3'; use one of F16, "),
    "escape sequences": (one("\x1b[1m", name="\x1b[2m"), r"tensor '\\x1b\[2m' has dtype '\\x1b\[1m'"),
    "a list as dtype": (one(["F32"]), "invalid entry for tensor 'w'"),
    "one offset": (one(data_offsets=(0,)), "invalid entry for tensor"),
    "fractional offsets": (one(data_offsets=(0.0, 8.0)), "offsets of tensor 'w' are not integers"),
    "negative offsets": (one(data_offsets=(-8, 0)), "offsets of tensor 'w' are not integers"),
    "nothing times huge": (one(shape=(0, HUGE), data_offsets=(0, 0), data=b""), "invalid shape"),
    "many axes": (one(shape=(1,) * 100, data_offsets=(0, 4)), "invalid shape"),
    "true as a size": (one(shape=(True,), data_offsets=(0, 4), data=bytes(4)), "invalid shape"),
    "a wrong shape": (one(shape=(3,)), OFFSETS),
    "a gap": (two((0, 7), (8, 16)), OFFSETS),
    "an overlap": (two((0, 8), (7, 16)), OFFSETS),
    "trailing data": (one(data=bytes(9)), SIZE),
    "truncated data": (one(data=bytes(7)), SIZE),
    "a tensor slightly larger than the file": (one("U8", (1 << 40,), (0, 1 << 40)), SIZE),
    "a header that is not text": (raw_safetensors('{"__metadata__": {"minichar": 1}}'), "is not a string"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_one_line(case, check_refused):
    check_refused("bad.safetensors", *case)


def test_the_header_is_limited_before_it_is_read(read, monkeypatch):
    data = one()
    size = int.from_bytes(data[:8], "little")
    monkeypatch.setattr(safetensors, "MAX_HEADER_CHARACTERS", size)
    assert read(data)[0]["w"].shape == (2,)
    monkeypatch.setattr(safetensors, "MAX_HEADER_CHARACTERS", size - 1)
    with pytest.raises(safetensors.Refused, match=f"larger than {size - 1} bytes"):
        read(data)


def test_truncated_and_changed_files_are_one_line(check_damaged):
    tensors = {"w": np.arange(3.0), "v": np.arange(2)}
    check_damaged("bad.safetensors", handmade.safetensors(tensors, header="{}"))
