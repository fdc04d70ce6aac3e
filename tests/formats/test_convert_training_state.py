"""Test that `minichar convert` copies the training state on request, and otherwise drops it."""

from pathlib import Path

import numpy as np
import pytest
from converting import convert, text_of
from toys import parts, put_together, toy_model

import minichar
from minichar.checkpoints.checkpoint import load_training
from minichar.errors import MinicharError
from minichar.formats.convert import load_model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_state_is_copied_exactly(trained, dtype):
    model, state, path = trained(dtype, dropout=0.5)
    for options in ({}, {"dtype": dtype}):
        converted = convert(path, path.with_name("copy.npz"), force=True, training=True, **options)
        assert converted.notes == ()
        assert converted.path.read_bytes() == path.read_bytes()
    copy, training = load_training(converted.path)
    assert copy.config == model.config
    assert training.progress == state.progress
    np.testing.assert_array_equal(training.mean_square, state.mean_square)


@pytest.mark.parametrize("name", ["model.npz", "weights.npz"])
def test_training_state_must_exist_to_be_kept(tmp_path, name):
    path = tmp_path / name
    if name == "model.npz":
        minichar.save(path, toy_model())
    else:
        np.savez(path, W=np.zeros((2, 3)))
    with pytest.raises(MinicharError, match=r"npz has no training state: omit training=True$"):
        convert(path, tmp_path / "copy.npz", training=True)


def test_a_note_reports_dropped_training_state(trained, package):
    package("onnx")
    _, _, path = trained()
    dropped = "dropped the training state: only a float32 .npz file can store it"
    assert convert(path, to="onnx").notes == (dropped,)
    assert convert(path, path.with_name("small.npz")).notes == ()


@pytest.mark.parametrize("to", ["html", "safetensors", "npz"])
def test_a_corrupted_training_state_does_not_prevent_an_export_without_it(trained, package, to):
    if to == "safetensors":
        package("safetensors")
    model, _, path = trained()
    header, arrays = parts(path)
    put_together(path, header, arrays | {"mean_square": np.zeros(3), "history": np.zeros(3)})
    converted = convert(path, path.with_name(f"new.{to}"))
    assert any("dropped the training state" in note for note in converted.notes) == (to != "npz")
    if to != "html":
        assert text_of(load_model(converted.path)) == text_of(model)
    with pytest.raises(MinicharError, match="history"):
        convert(path, path.with_name("whole.npz"), training=True)


@pytest.mark.parametrize("options", [("half.npz", "--dtype", "float16"), ("model.html",)], ids=str)
def test_training_state_that_cannot_be_kept_is_an_error(trained, cli, tmp_path, monkeypatch, options):
    _, _, path = trained()
    monkeypatch.chdir(tmp_path)
    result = cli("convert", path, *options, "--training")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: --training requires an .npz file with the model's own dtype, float32: omit --training, or "
        "convert to .npz without --dtype\n"
    )
    assert not Path(options[0]).exists()
    with pytest.raises(MinicharError, match=r"training=True requires an \.npz file"):
        convert(path, "half.npz", dtype="float16", training=True)


def test_a_trained_model_is_evaluated_and_resumed_after_conversion(tmp_path, monkeypatch, cli, package):
    package("safetensors")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("Sing, quick brown fox, of 26 letters; the lazy dog sleeps on.\n" * 40)
    options = ["--max-epochs", 1, "--rnn-size", 8, "--batch-size", 2, "--seq-length", 10, "--quiet"]
    path = cli("train", "--data", "my.txt", *options).stdout.strip()
    result = cli("convert", path, "my.safetensors")
    assert "dropped the training state" in result.stderr
    assert cli("eval", "my.safetensors").stdout.splitlines()[1:] == cli("eval", path).stdout.splitlines()[1:]
    assert cli("convert", path, "copy.npz", "--training").exit_code == 0
    assert cli("train", "--resume", "copy.npz", "--max-epochs", 2, "--quiet").exit_code == 0
