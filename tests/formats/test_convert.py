"""Test conversion between all formats: models, arrays that are not a model, and errors."""

import pickle
import zipfile
from pathlib import Path

import handmade
import numpy as np
import pytest
from converting import contents, convert, tensors_of, text_of, write
from toys import parts, put_together

import minichar
import minichar.extras as extras
from minichar.checkpoints.archive import write_archive
from minichar.checkpoints.checkpoint import load, load_training
from minichar.errors import MinicharError
from minichar.formats.convert import load_model, save_model

READABLE = {".npz": (), ".safetensors": ("safetensors",), ".pt": ("torch",)}


@pytest.fixture(params=READABLE)
def readable(request, package):
    """Suffix of a readable and writable format. Tests using this fixture run once per format."""
    for name in READABLE[request.param]:
        package(name)
    return request.param


def test_models_round_trip_through_every_readable_format(saved, readable):
    model, path = saved(unknown=True, dropout=0.5, model="gru")
    there = convert(path, path.with_name(f"there{readable}")).path
    assert text_of(minichar.load(there)) == text_of(model)
    back = minichar.load(convert(there, path.with_name("back.npz")).path)
    assert (back.config, back.vocabulary, back.details) == (model.config, model.vocabulary, model.details)
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)


def test_save_model_selects_the_format_by_suffix(make, tmp_path, readable):
    model, path = make(), tmp_path / f"model{readable}"
    save_model(model, path)
    np.testing.assert_array_equal(load_model(path).parameters.flat, model.parameters.flat)
    with pytest.raises(
        MinicharError, match=r"cannot write .*\.h5 is for Keras; use \.onnx or \.safetensors$"
    ):
        save_model(model, tmp_path / "model.h5")
    for suffix in ("onnx", "html"):
        with pytest.raises(MinicharError, match=rf"cannot read .*new\.{suffix}: \.{suffix} is write-only"):
            load_model(tmp_path / f"new.{suffix}")


def test_commands_give_the_same_output_for_every_readable_format(saved, readable, cli, tmp_path):
    _, path = saved()
    text = tmp_path / "text.txt"
    text.write_text("abcdé詩\n" * 30, encoding="utf-8")
    there = convert(path, path.with_name(f"there{readable}")).path
    for command, *arguments in (
        ["sample", "--length", "50", "--seed", "5"],
        ["eval", "--data", text],
        ["inspect"],
    ):
        one, other = cli(command, path, *arguments), cli(command, there, *arguments)
        assert one.exit_code == other.exit_code == 0, other.output
        assert other.stdout.replace(str(there), str(path)) == one.stdout


def test_the_default_target_is_an_inference_file(trained, cli):
    model, _, path = trained()
    result = cli("convert", path)
    small = path.with_suffix(".inference.npz")
    assert result.stdout == f"{small}\n"
    assert f"{path.stat().st_size:,} bytes -> {small.stat().st_size:,} bytes\n" in result.stderr
    assert contents(small).keys() == {"header", *model.parameters.shapes}
    assert small.stat().st_size < 0.75 * path.stat().st_size
    with pytest.raises(MinicharError, match="no training state"):
        load_training(small)
    np.testing.assert_array_equal(load(small).parameters.flat, model.parameters.flat)
    assert convert(small, path.with_name("twice.npz")).path.read_bytes() == small.read_bytes()


def test_the_default_target_keeps_the_stem(saved, tmp_path):
    model, path = saved()
    there = write(tmp_path / "foreign.pt", *tensors_of(model))
    assert convert(there).path == tmp_path / "foreign.npz"
    with pytest.raises(MinicharError, match="already exists"):
        convert(there)
    assert convert(there, force=True) == (tmp_path / "foreign.npz", ())
    assert convert(path.rename(tmp_path / "model_1.5")).path == tmp_path / "model_1.5.inference.npz"


def test_weights_are_written_in_float32_by_default(trained, package):
    package("safetensors")
    model, _, path = trained("float64")
    assert load_model(convert(path).path).parameters.dtype == "float32"
    there = convert(path, path.with_suffix(".safetensors")).path
    assert load_model(there).parameters.dtype == "float32"
    wide = convert(path, path.with_name("wide.npz"), dtype="float64").path
    np.testing.assert_array_equal(load_model(wide).parameters.flat, model.parameters.flat)
    half = contents(convert(path, path.with_name("half.npz"), dtype="float16").path)
    assert {str(half[name].dtype) for name in model.parameters.shapes} == {"float16"}


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_reading_and_writing_npz_need_no_package(saved, monkeypatch, suffix):
    def missing(name):
        raise AssertionError(f"{name} was imported")

    monkeypatch.setattr(extras, "import_module", missing)
    model, path = saved()
    if suffix != ".npz":
        path = write(path.with_suffix(suffix), *tensors_of(model))
    converted = convert(path, path.with_name("converted.npz")).path
    np.testing.assert_array_equal(load_model(converted).parameters.flat, model.parameters.flat)


def test_plain_arrays_are_converted(tmp_path):
    arrays = {
        "W": np.arange(6.0).reshape(2, 3),
        "file": np.arange(3),  # `numpy.savez` has a parameter of this name
        "mask": np.array([True]),
        "z": np.array(1j),
    }
    path = tmp_path / "weights.npz"
    write_archive(path, {}, arrays)
    same = contents(convert(path, tmp_path / "same.npz").path)
    half = contents(convert(path, tmp_path / "half.npz", dtype="float16").path)
    handmade.same(same, arrays)
    handmade.same(half, arrays | {"W": arrays["W"].astype("float16")})


def test_plain_arrays_too_large_for_the_dtype_are_rejected(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, W=np.array([np.inf, 1.0]))
    convert(path, tmp_path / "half.npz", dtype="float16")  # infinity is also infinity in float16
    for name, shown in (("W", ": W"), ("x" * 1000, r": x{48}\.\.\.x{49}")):
        np.savez(path, **{name: np.array([1e6])})
        with pytest.raises(MinicharError, match=f"{shown} has values that float16 cannot represent"):
            convert(path, tmp_path / "other.npz", dtype="float16")
    assert not (tmp_path / "other.npz").exists()


def test_options_for_models_are_rejected_for_plain_arrays(tmp_path):
    np.savez(tmp_path / "plain.npz", header=np.arange(3), W=np.arange(3))  # it would be minichar's header
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"header": 3.5}))
    for name in ("plain.npz", "plain.pkl"):
        with pytest.raises(MinicharError, match=r"an array named header, a name reserved .*: rename it$"):
            convert(tmp_path / name, tmp_path / "new.npz")
    np.savez(tmp_path / "plain.npz", W=np.arange(3))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"header": "skipped", "a": {"header": 3.5}}))
    for name in ("plain.npz", "plain.pkl"):
        with pytest.raises(MinicharError, match=rf"{name} contains arrays but no model: omit vocab_from$"):
            convert(tmp_path / name, tmp_path / "new.npz", vocab_from="nothing")
    assert not (tmp_path / "new.npz").exists()
    converted = convert(tmp_path / "plain.pkl", tmp_path / "new.npz")
    assert converted.notes == ("skipped non-numeric values: header",)
    assert contents(converted.path).keys() == {"a.header"}


@pytest.mark.parametrize("to", ["html", "onnx", "safetensors", "npz"])
def test_a_corrupted_training_state_does_not_prevent_an_export_without_it(trained, package, to):
    if to in ("onnx", "safetensors"):
        package(to)
    model, _, path = trained()
    header, arrays = parts(path)
    put_together(path, header, arrays | {"mean_square": np.zeros(3), "history": np.zeros(3)})
    converted = convert(path, path.with_name(f"new.{to}"))
    dropped = "the converted file can generate text, but it cannot be resumed: keep the checkpoint for that"
    notes = {"npz": (), "html": ("to generate text, open the page in a browser",)}
    assert converted.notes == notes.get(to, (dropped,))
    if to in ("safetensors", "npz"):
        assert text_of(load_model(converted.path)) == text_of(model)


@pytest.mark.parametrize("to", ["safetensors", "pt", "onnx"])
def test_a_missing_package_is_a_one_line_error(saved, cli, monkeypatch, to):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}\nand more")

    monkeypatch.setattr(extras, "import_module", missing)
    _, path = saved()
    result = cli("convert", path, path.with_suffix(f".{to}"))
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"Error: {path.with_suffix('.' + to)} needs a package that cannot be imported (No module named "
    )
    _, _, command = result.stderr.partition("'): ")
    assert command == f'pip install "minichar[{ {"pt": "torch"}.get(to, to) }]"\n'


WRONG = {
    "missing": (["none.npz"], "no such checkpoint: 'none.npz'"),
    "directory": (["."], "no checkpoint in ./: choose a file, such as foreign.npz"),
    "missing pickle": (["none.pkl"], "cannot read none.pkl: No such file"),
    "itself": (["model.npz", "./sub/../model.npz", "--force"], "is both the source and the target: choose"),
    "exists": (
        ["model.npz", "other.npz"],
        "other.npz already exists: choose another name, or use --force to",
    ),
    "suffix": (
        ["model.npz", "model.bin"],
        "cannot write model.bin: its suffix must be one of .npz, .safetensors, .pt, .onnx, .html",
    ),
    "llama.cpp": (
        ["model.npz", "model.GGUF"],
        "cannot write model.GGUF: .gguf is for llama.cpp, which cannot",
    ),
    "pickle": (["model.npz", "model.pkl"], ".pkl is read-only; use .npz"),
    "sequence": (["model.npz", "new.npz", "--sequence"], "--sequence is for .onnx only"),
    "vocabulary known": (["model.npz", "new.npz", "--vocab-from", "no"], "its vocabulary: omit --vocab-from"),
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
    zipfile.ZipFile(tmp_path / "nothing.npz", "w").close()
    write_archive(Path("foreign.npz"), {"format": "other"}, {"a": np.arange(2)})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    result = cli("convert", *arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_invalid_python_arguments_are_rejected(saved, tmp_path):
    _, path = saved()
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(MinicharError, match=r"cannot write .*: it is a directory"):
        convert(path, tmp_path / "folder.npz", force=True)
    with pytest.raises(MinicharError, match="dtype is 'int8'"):
        convert(path, dtype="int8")
    with pytest.raises(MinicharError, match="dtype is 'int8'"):
        save_model(load_model(path), path, dtype="int8")
