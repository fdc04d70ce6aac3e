"""Test reading ``.pt`` files without PyTorch: the tensors of valid files, and the errors for all others."""

import io
from collections import OrderedDict

import handmade
import numpy as np
import pytest
from handmade import state_dict, storage, tensor, text, torch_type, zipped

from minichar.checkpoints.stored_zip import LimitedFile
from minichar.errors import MinicharError
from minichar.formats import pickles, pytorch
from minichar.formats.convert import load_model

FLOAT = torch_type("float32")


@pytest.fixture
def torch(package):
    return package("torch")


@pytest.fixture
def save(torch, tmp_path):
    """Return a function that saves a state dict with PyTorch and loads it with both PyTorch and minichar."""

    def save(state):
        path = tmp_path / "state.pt"
        torch.save(state, path)
        return pytorch.read_tensors(path), torch.load(path, weights_only=True)

    return save


def check_same(torch, read):
    found, expected = read
    assert list(found) == list(expected)
    for name, theirs in expected.items():
        widened = theirs.detach().float() if theirs.dtype == torch.bfloat16 else theirs.detach()
        assert found[name].dtype == widened.numpy().dtype
        np.testing.assert_array_equal(found[name], widened.numpy())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_tensors_of_a_module_are_the_same(torch, save, dtype):
    rnn = torch.nn.LSTM(5, 4, 2)
    module = torch.nn.ModuleDict({"rnn": rnn, "decoder": torch.nn.Linear(4, 5)}).to(getattr(torch, dtype))
    state = module.state_dict()
    assert isinstance(state, OrderedDict)
    assert state._metadata  # stored as an attribute of the dict
    check_same(torch, save(state))


def test_views_of_storages_are_the_same(torch, save):
    x = torch.randn(6, 8)
    state = {
        "transposed": x.T,
        "part": x[1:5:2, 3:],
        "shared": x,
        "permuted": torch.randn(2, 3, 4).permute(2, 0, 1),
        "repeated": torch.randn(3, 1).expand(3, 4),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "frozen": torch.nn.Parameter(torch.randn(2), requires_grad=False),
        "scalar": torch.tensor(2.5),
        "half scalar": torch.tensor(2.5, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "empty part": x[:, 8:],
        "one row": x[2:3].T,
    }
    for kind in ("int8", "int16", "int32", "int64", "uint8", "bool"):
        state[kind] = torch.tensor([0, 1, 1]).to(getattr(torch, kind))
    check_same(torch, save(state))


def test_big_endian_files_are_read(tmp_path):
    path = tmp_path / "big.pt"
    path.write_bytes(handmade.pt({"a": np.arange(6.0).reshape(2, 3)}, order="big"))
    found = pytorch.read_tensors(path)["a"]
    np.testing.assert_array_equal(found, np.arange(6.0).reshape(2, 3))
    assert found.dtype == np.dtype("float64")


def with_tensor(program, *data):
    members = {f"a/data/{key}": part for key, part in enumerate(data or [bytes(24)])}
    return zipped({"a/data.pkl": state_dict({"w": program})} | members)


def stored_in(shape, strides, offset=0, kind=FLOAT):
    """Return a file with a tensor backed by a storage of six float32 elements."""
    return with_tensor(tensor(storage("0", kind), shape, strides, offset))


def wrong_checksum():
    return with_tensor(tensor(storage("0", FLOAT), (1,), (1,)), b"abcd").replace(b"abcd", b"abce", 1)


HUGE = 1 << 62
BAD = {
    "text": (b"x" * 100, "not a zip archive"),
    "no pickle": (zipped({"a/data/0": b""}), "not written by torch.save"),
    "two pickles": (zipped({"a/data.pkl": b"N.", "b/data.pkl": b"N."}), "not written by torch.save"),
    "wrong checksum": (wrong_checksum(), "its checksum is wrong"),
    "missing storage": (with_tensor(tensor(storage("7", FLOAT), (1,), (1,))), "a member is missing"),
    "a list": (zipped({"a/data.pkl": b"\x80\x02]."}), "not a state dict"),
    "a nested dict": (with_tensor(b"}"), "not a state dict"),
    "code": (with_tensor(b"cos\nsystem\n" + text("x") + b"\x85R"), r"refers to 'os\.system'"),
    "one element too many": (stored_in((7,), (1,)), "larger than its data"),
    "an offset too large": (stored_in((2, 2), (2, 1), 3), "larger than its data"),
    "a stride too large": (stored_in((2, 2), (5, 1)), "larger than its data"),
    "a negative stride": (stored_in((2,), (-1,)), "invalid strides"),
    "too few strides": (stored_in((2, 2), (1,)), "invalid strides"),
    "a negative offset": (stored_in((1,), (1,), -1), "without a storage"),
    "a negative size": (stored_in((-1,), (1,)), "invalid shape"),
    "the same number often": (stored_in((1 << 30, 1 << 10), (0, 0)), "tensors exceeds the file size"),
    "unknown storage": (stored_in((1,), (1,), kind=b"ctorch\nQInt8Storage\n"), "QInt8Storage"),
    "untyped storage": (stored_in((1,), (1,), kind=text("float")), "a storage with an unknown type"),
    "a storage type as a function": (with_tensor(FLOAT + b")R"), "not a function"),
    "no storage": (with_tensor(tensor(b"N", (1,), (1,))), "without a storage"),
    "an identifier that is not a tuple": (with_tensor(b"NQ"), "a storage with an unknown type"),
}


def test_the_stride_of_an_axis_of_length_1_does_not_matter(tmp_path):
    path = tmp_path / "row.pt"
    path.write_bytes(stored_in((1, 6), (HUGE, 1)))
    np.testing.assert_array_equal(pytorch.read_tensors(path)["w"], np.zeros((1, 6)))


def test_the_size_of_the_directory_and_of_the_pickle_are_limited(tmp_path, monkeypatch):
    path = tmp_path / "many.pt"
    path.write_bytes(handmade.pt({"w": np.zeros(3)}))
    directory = path.read_bytes()
    bytes_in_directory = directory.index(b"PK\5\6") - directory.index(b"PK\1\2")
    monkeypatch.setattr(LimitedFile, "limit", bytes_in_directory)
    assert list(pytorch.read_tensors(path)) == ["w"]
    monkeypatch.setattr(LimitedFile, "limit", bytes_in_directory - 1)
    with pytest.raises(MinicharError, match="its list of members is larger than"):
        load_model(path)
    monkeypatch.undo()
    monkeypatch.setattr(pytorch, "MAX_PICKLE_BYTES", 10)
    with pytest.raises(MinicharError, match=r"not written by torch\.save"):
        load_model(path)


def test_persistent_ids_are_rejected_in_other_pickles(tmp_path):
    with pytest.raises(pickles.Refused, match="opcode BINPERSID is not allowed"):
        pickles.run(io.BytesIO(b"\x80\x02NQ."), {})


def test_a_header_that_is_not_a_byte_tensor_or_too_large_is_rejected(tmp_path, monkeypatch):
    path = tmp_path / "header.pt"
    path.write_bytes(handmade.pt({"minichar.json": np.zeros(3)}))
    with pytest.raises(MinicharError, match="not a byte tensor"):
        load_model(path)
    monkeypatch.setattr(pytorch, "MAX_HEADER_CHARACTERS", 2)
    path.write_bytes(handmade.pt({"minichar.json": np.zeros(3, "u1")}))
    with pytest.raises(MinicharError, match="not a byte tensor of at most 2 elements"):
        load_model(path)


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_one_line(case, check_refused):
    check_refused("bad.pt", *case)


def test_truncated_and_changed_files_are_one_line(check_damaged):
    check_damaged("bad.pt", handmade.pt({"w": np.arange(3.0)}))
