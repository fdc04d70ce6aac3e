"""`minichar convert` from end to end, and what it says."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from converting import Converted, convert

import minichar
import minichar.extras as packages
from minichar.checkpoints.archive import write_archive
from minichar.checkpoints.checkpoint import TrainingState, load, load_training, save
from minichar.cli import main
from minichar.errors import MinicharError
from minichar.formats.convert import load_model

LINE = "Sing, quick brown fox, of 26 letters; the lazy dog sleeps on.\n"
READABLE = {".npz": (), ".safetensors": ("safetensors",), ".pt": ("torch",)}


@pytest.fixture(params=READABLE)
def readable(request, package):
    """The suffix of each format that is read and written."""
    for name in READABLE[request.param]:
        package(name)
    return request.param


@pytest.fixture
def trained(make, tmp_path):
    """Return a function that saves a checkpoint of a training; it returns its model, state and path."""

    def trained(dtype="float32", **options):
        model = make(dtype=dtype, **options)
        values = np.random.default_rng(4)
        state = TrainingState(
            values.random(model.parameters.size).astype(dtype),
            values.random(model.config.state_shape(2)).astype(dtype),
            {"iteration": 7, "history": [], "random": {"state": 2**100}},
        )
        path = tmp_path / "lm_lstm_epoch1.00_2.0000.npz"
        save(path, model, state)
        return model, state, path

    return trained


@pytest.fixture
def cli():
    """Run ``minichar`` with these arguments."""
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


def text_of(model):
    return "".join(minichar.generate(model, length=300, seed=5))


def contents(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays}


def test_every_readable_format_gives_the_same_text(saved, readable, cell):
    if cell.get("gru_reset") == "before" and readable != ".npz":
        pytest.skip("PyTorch has no such GRU")
    model, path = saved(unknown=True, **cell)
    there = convert(path, path.with_name(f"there{readable}")).path
    assert text_of(minichar.load(there)) == text_of(model)
    back = convert(there, path.with_name("back.npz")).path
    assert text_of(minichar.load(back)) == text_of(model)


def test_sample_eval_and_inspect_take_every_readable_format(saved, readable, cli, tmp_path):
    _, path = saved()
    text = tmp_path / "text.txt"
    text.write_text("abcdé詩\n" * 30, encoding="utf-8")
    there = convert(path, path.with_name(f"there{readable}")).path
    for arguments in (
        ["sample", "--length", "50"],
        ["eval", "--data", text, "--split", "whole"],
        ["inspect"],
    ):
        one, other = cli(arguments[0], path, *arguments[1:]), cli(arguments[0], there, *arguments[1:])
        assert one.exit_code == other.exit_code == 0, other.output
        assert other.stdout.replace(str(there), str(path)) == one.stdout


def test_without_a_target_a_checkpoint_becomes_an_inference_file(trained, cli):
    model, _, path = trained()
    result = cli("convert", path)
    small = path.with_suffix(".inference.npz")
    assert result.stdout == f"{small}\n"
    assert result.stderr == f"{path.stat().st_size:,} bytes became {small.stat().st_size:,}\n"
    assert "mean_square" not in contents(small)
    with pytest.raises(MinicharError, match="without the state of its training"):
        load_training(small)
    np.testing.assert_array_equal(load(small).parameters.flat, model.parameters.flat)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_keeps_the_training_exactly(trained, dtype):
    model, state, path = trained(dtype, dropout=0.5)
    for options in ({}, {"dtype": dtype}):
        converted = convert(path, path.with_name("copy.npz"), force=True, inference=False, **options)
        assert converted.notes == ()
        assert converted.path.read_bytes() == path.read_bytes()
    copy, training = load_training(converted.path)
    assert copy.config == model.config
    assert training.progress == state.progress
    np.testing.assert_array_equal(training.mean_square, state.mean_square)


def test_a_copy_is_for_sampling_unless_the_training_is_asked_for(trained, cli):
    _, _, path = trained()
    small, whole = path.with_name("small.npz"), path.with_name("whole.npz")
    for target, options in ((small, []), (whole, ["--training"])):
        assert cli("convert", path, target, *options).exit_code == 0
        assert ("mean_square" in contents(target)) == (target == whole)
    assert "both what to read and where to write" in cli("convert", path, path, "--training").output


def test_what_is_lost_of_a_training_is_said(trained, package):
    package("onnx")
    _, _, path = trained()
    lost = "left out: the state of training, which only an .npz of float32 can hold"
    assert convert(path, path.with_name("half.npz"), dtype="float16", inference=False).notes == (lost,)
    assert convert(path, to="onnx").notes == (lost,)
    assert convert(path, path.with_name("small.npz")).notes == ()
    assert "mean_square" not in contents(path.with_name("small.npz"))


def test_a_model_is_written_in_float32_unless_asked(trained, package):
    package("safetensors")
    _, _, path = trained("float64")
    assert load_model(convert(path).path).parameters.dtype == "float32"
    assert load_model(convert(path, to="safetensors").path).parameters.dtype == "float32"
    wide = convert(path, path.with_name("wide.npz"), dtype="float64").path
    assert load_model(wide).parameters.dtype == "float64"


def test_a_gru_that_resets_before_travels_by_npz(saved):
    model, path = saved(model="gru", gru_reset="before")
    np.testing.assert_array_equal(load_model(convert(path).path).parameters.flat, model.parameters.flat)


def test_an_archive_of_plain_arrays_becomes_another(tmp_path):
    arrays = {
        "W": np.arange(6.0).reshape(2, 3),
        "k": np.arange(3),
        "mask": np.array([True]),
        "z": np.array(1j),
    }
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays)  # what cupy.savez calls
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


def test_plain_arrays_too_large_for_the_dtype_are_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, W=np.array([np.inf, 1.0]))
    convert(path, tmp_path / "half.npz", dtype="float16")  # an infinity stays one
    np.savez(path, W=np.array([1e6]))
    with pytest.raises(MinicharError, match="W holds values that float16 cannot"):
        convert(path, tmp_path / "other.npz", dtype="float16")
    assert not (tmp_path / "other.npz").exists()


def test_an_archive_may_hold_an_array_of_any_name(tmp_path):
    path = tmp_path / "odd.npz"
    write_archive(path, {}, {"file": np.arange(2), "allow_pickle": np.arange(3)})
    assert {name: array.tolist() for name, array in contents(path).items()} == {
        "file": [0, 1],
        "allow_pickle": [0, 1, 2],
    }


def test_neither_gpu_nor_optional_packages_are_needed(trained):
    """A checkpoint of a GPU is converted where none of them can be imported."""
    _, _, path = trained()
    program = (
        "import sys\n"
        "for name in ('cupy', 'dpnp', 'torch', 'onnx', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "import runpy\n"
        f"sys.argv = ['minichar', 'convert', {str(path)!r}]\n"
        "runpy.run_module('minichar', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).exists()


@pytest.mark.parametrize("to", ["safetensors", "pt", "onnx"])
def test_a_missing_package_is_one_line(saved, cli, monkeypatch, to):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(packages, "import_module", missing)
    _, path = saved()
    extra = {"pt": "torch"}.get(to, to)
    result = cli("convert", path, "--to", to)
    assert result.exit_code == 1
    assert result.stderr.startswith(
        "Error: this format needs a package that cannot be imported (No module named "
    )
    assert result.stderr.endswith(f"pip install 'minichar[{extra}]'\n")
    if to != "onnx":
        path.with_suffix(f".{to}").write_bytes(b"x")
        assert f"pip install 'minichar[{extra}]'" in cli("sample", path.with_suffix(f".{to}")).stderr


def test_onnx_is_not_read(tmp_path, cli):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x08\x08")
    result = cli("sample", path)
    assert (
        result.stderr == f"Error: {path} cannot be read: .onnx is only written; use the file it came from\n"
    )


WRONG = {
    "missing": (["none.npz"], "no such checkpoint: none.npz"),
    "folder": (["."], "no checkpoint in ./: train one"),
    "missing pickle": (["none.pkl"], "cannot read none.pkl: No such file"),
    "itself": (["model.npz", "model.npz", "--force"], "both what to read and where to write"),
    "itself by another name": (["model.npz", "./sub/../model.npz", "--force"], "both what to read and where"),
    "exists": (["model.npz", "other.npz"], "other.npz exists already: give another name, or --force"),
    "suffix": (["model.npz", "model.h5"], "the suffix of model.h5 is none of .npz, .safetensors, .pt, .onnx"),
    "no suffix": (["model.npz", "model"], "the suffix of model is none of"),
    "contradiction": (
        ["model.npz", "model.pt", "--to", "onnx"],
        "--to onnx contradicts the suffix of model.pt",
    ),
    "pickle": (["model.npz", "model.pkl"], "pickles are only read"),
    "sequence": (["model.npz", "new.npz", "--sequence"], "--sequence is about .onnx"),
    "characters known": (["model.npz", "new.npz", "--vocab-from", "model.npz"], "leave --vocab-from out"),
    "empty": (["empty.npz", "new.npz"], "empty, truncated, or no .npz file"),
    "empty archive": (["nothing.npz", "new.npz"], "it holds nothing"),
    "foreign header": (["foreign.npz", "new.npz"], "it has no minichar header"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_mistakes_are_one_line_and_write_nothing(saved, cli, tmp_path, monkeypatch, case):
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


def test_force_writes_over_and_to_decides_an_unknown_suffix(saved, tmp_path):
    model, path = saved()
    (tmp_path / "model.bin").write_bytes(b"mine")
    assert convert(path, tmp_path / "model.bin", force=True, to="npz") == Converted(
        tmp_path / "model.bin", ()
    )
    assert text_of(load_model(tmp_path / "model.bin")) == text_of(model)


def test_a_format_of_its_own_suffix_gets_another_name(saved, package):
    package("safetensors")
    _, path = saved()
    there = convert(path, to="safetensors").path
    assert there.name == "model.safetensors"
    assert convert(there, to="safetensors").path.name == "model.inference.safetensors"


def test_the_python_call_checks_its_words(saved):
    _, path = saved()
    with pytest.raises(MinicharError, match="dtype is 'int8'"):
        convert(path, dtype="int8")
    with pytest.raises(MinicharError, match="to is 'h5'"):
        convert(path, to="h5")


def test_what_cannot_be_written_leaves_nothing(saved, tmp_path, package):
    package("safetensors")
    _, path = saved()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MinicharError, match=r"cannot write .*choose another folder"):
        convert(path, tmp_path / "file" / "model.safetensors")


def test_a_model_trained_here_travels(tmp_path, monkeypatch, cli, package):
    package("safetensors")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text(LINE * 40)
    options = ["--max-epochs", 1, "--rnn-size", 8, "--batch-size", 2, "--seq-length", 10, "--quiet"]
    path = cli("train", "--data", "my.txt", *options).stdout.strip()
    result = cli("convert", path, "my.safetensors")
    assert "left out: the state of training" in result.stderr
    assert cli("eval", "my.safetensors").stdout.splitlines()[1:] == cli("eval", path).stdout.splitlines()[1:]
    resumed = cli("convert", path, "copy.npz", "--training")
    assert resumed.exit_code == 0
    assert cli("train", "--resume", "copy.npz", "--max-epochs", 2, "--quiet").exit_code == 0
