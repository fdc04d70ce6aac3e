"""Test that impossible conversions and unreadable files are one-line errors."""

import json
import zipfile
from pathlib import Path

import handmade
import numpy as np
import pytest
from converting import convert

import minichar.extras as extras
from minichar.checkpoints.archive import write_archive
from minichar.checkpoints.checkpoint import header_of
from minichar.errors import MinicharError
from minichar.formats.convert import load_model
from minichar.formats.state_dict import to_state_dict


@pytest.mark.parametrize("to", ["safetensors", "pt", "onnx"])
def test_a_missing_package_is_a_one_line_error(saved, cli, monkeypatch, to):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}\nand more")

    monkeypatch.setattr(extras, "import_module", missing)
    _, path = saved()
    package = {"pt": "torch"}.get(to, to)
    result = cli("convert", path, "--to", to)
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"Error: {path.with_suffix('.' + to)} needs a package that cannot be imported (No module named "
    )
    _, _, command = result.stderr.partition("'): ")
    assert command.startswith(f'pip install "{package}>=')


def test_the_header_of_a_state_dict_cannot_describe_an_embedding(make, tmp_path):
    model, path = make(), tmp_path / "model.safetensors"
    tensors = to_state_dict(model.config, dict(model.parameters.items()), path)
    header = header_of(model)
    header["config"]["embedding"] = 5
    path.write_bytes(handmade.safetensors(tensors, json.dumps(header)))
    with pytest.raises(MinicharError, match="its header describes an embedding, which a state dict cannot"):
        load_model(path)


@pytest.mark.parametrize("suffix", ["onnx", "html"])
def test_write_only_formats(tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(b"\x08\x08")
    with pytest.raises(MinicharError, match=rf"cannot read .*model\.{suffix}: \.{suffix} is write-only"):
        load_model(path)


WRONG = {
    "missing": (["none.npz"], "no such checkpoint: 'none.npz'"),
    "directory": (["."], "no checkpoint in ./: train one"),
    "missing pickle": (["none.pkl"], "cannot read none.pkl: No such file"),
    "itself": (["model.npz", "model.npz", "--force"], "model.npz is both the source and the target"),
    "itself by another name": (
        ["model.npz", "./sub/../model.npz", "--force"],
        "both the source and the target",
    ),
    "exists": (
        ["model.npz", "other.npz"],
        "other.npz already exists: choose another name, or use --force to",
    ),
    "suffix": (
        ["model.npz", "model.bin"],
        "the suffix of model.bin is not one of .npz, .safetensors, .pt, .onnx, .html: choose the format with",
    ),
    "llama.cpp": (
        ["model.npz", "model.GGUF"],
        "cannot write model.GGUF: .gguf is for llama.cpp, which cannot run these networks; use .onnx or",
    ),
    "no suffix": (["model.npz", "model"], "the suffix of model is not one of"),
    "contradiction": (
        ["model.npz", "model.pt", "--to", "onnx"],
        "--to onnx conflicts with the suffix of model.pt",
    ),
    "pickle": (["model.npz", "model.pkl"], "pickles are read-only"),
    "sequence": (["model.npz", "new.npz", "--sequence"], "--sequence is for .onnx only"),
    "vocabulary known": (
        ["model.npz", "new.npz", "--vocab-from", "none.txt"],
        "already contains its vocabulary: omit --vocab-from",
    ),
    "empty": (["empty.npz", "new.npz"], "empty, truncated, or not a zip archive"),
    "empty archive": (["nothing.npz", "new.npz"], "it is an empty archive"),
    "foreign header": (["foreign.npz", "new.npz"], "it has no minichar header"),
    "file as directory": (["model.npz", "other.npz/model.npz"], "; choose another directory"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_user_errors_are_one_line_and_write_nothing(saved, cli, tmp_path, monkeypatch, case):
    arguments, message = case
    monkeypatch.chdir(tmp_path)
    saved()
    (tmp_path / "sub").mkdir()
    (tmp_path / "other.npz").write_bytes(b"mine")
    (tmp_path / "empty.npz").write_bytes(b"")
    zipfile.ZipFile(tmp_path / "nothing.npz", "w").close()
    write_archive(Path("foreign.npz"), {"format": "other"}, {"a": np.arange(2)})
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    result = cli("convert", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_invalid_python_arguments_are_rejected(saved, tmp_path):
    _, path = saved()
    with pytest.raises(MinicharError, match=r"cannot write .*: it is a directory"):
        convert(path, tmp_path, to="npz", force=True)
    with pytest.raises(MinicharError, match="dtype is 'int8'"):
        convert(path, dtype="int8")
    with pytest.raises(MinicharError, match="to is 'h5'"):
        convert(path, to="h5")
