"""Test that commands reject invalid and unsuitable checkpoints with a one-line error and change no files."""

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from toys import TEXT, TOY, npy, parts, put_together, replace_member

import minichar
from minichar.checkpoints.naming import loss_in_name


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("boom",)


def object_array():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([Bomb()], dtype=object), allow_pickle=True)
    return file.getvalue()


def compress(path):
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def change(path, **changes):
    header, arrays = parts(path)
    put_together(path, header | changes, arrays)


def change_config(path, **changes):
    header, arrays = parts(path)
    put_together(path, header | {"config": header["config"] | changes}, arrays)


def change_array(path, name, array):
    header, arrays = parts(path)
    arrays = {n: a for n, a in arrays.items() if n != name} | ({} if array is None else {name: array})
    put_together(path, header, arrays)


def test_text_file_instead_of_a_checkpoint(refused, home):
    (home / "my text.txt").write_text("the river 汉" * 500, encoding="utf-8")
    advice = {
        "sample": ", train a model on the text with `minichar train --data 'my text.txt'`, or continue the "
        "text with `minichar sample --prime-file 'my text.txt'`",
        "eval": ", or evaluate a model on the text with `minichar eval --data 'my text.txt'`",
        "inspect": "",
        "plot": "",
        "train --resume": "",
    }
    for command, words in advice.items():
        assert refused(*command.split(), "my text.txt") == (
            "Error: 'my text.txt' is a text file, not a checkpoint: choose a checkpoint or a directory of "
            f"checkpoints{words}"
        )


def test_a_prompt_instead_of_a_checkpoint(refused):
    assert refused("sample", "The ") == (
        "Error: no such checkpoint: 'The '; choose a file or directory created by `minichar train`; to set a "
        "prompt, use --primetext"
    )


def test_the_training_text_is_missing(refused, train, home):
    train("--max-epochs", 1)
    (home / "input.txt").unlink()
    for command in (["train", "--resume", "cv"], ["eval"]):
        error = refused(*command)
        assert "was trained on 'input.txt', which does not exist: specify the text with --data" in error


def test_a_dataset_that_is_missing_can_be_downloaded_again(refused, cli, home):
    (home / "data" / "tang300").mkdir(parents=True)
    text = home / "data" / "tang300" / "input.txt"
    text.write_text(TEXT)
    cli("train", "--data", "data/tang300", *TOY, "--max-epochs", 1)
    text.unlink()
    assert "get it with `minichar data get tang300`" in refused("eval")


@pytest.mark.parametrize("absolute", [False, True])
def test_the_directory_of_a_dataset_is_missing(refused, cli, home, absolute):
    data = (home / "data" if absolute else Path("data")) / "tang300"
    data.mkdir(parents=True)
    (data / "input.txt").write_text(TEXT)
    cli("train", "--data", data, *TOY, "--max-epochs", 1)
    shutil.rmtree(data)
    missing = f"was trained on {str(data)!r}, which does not exist: specify the text with --"
    options = {"eval": "data", "train --resume cv": "data", "inspect --html x.html": "text"}
    for command, option in options.items():
        remedy = f"{missing}{option}, or get it with `minichar data get tang300`"
        assert refused(*command.split()).endswith(remedy)


def test_a_text_with_the_name_of_a_dataset_is_missing(refused, cli, home):
    (home / "tang300").write_text(TEXT)
    cli("train", "--data", "tang300", *TOY, "--max-epochs", 1)
    (home / "tang300").unlink()
    assert refused("eval").endswith("'tang300', which does not exist: specify the text with --data")


DAMAGE = {
    "missing": (lambda p: p.unlink(), "no such checkpoint: 'x.npz'"),
    "empty": (lambda p: p.write_bytes(b""), "it is empty, truncated, or not a zip archive"),
    "truncated": (
        lambda p: p.write_bytes(p.read_bytes()[:-300]),
        "it is empty, truncated, or not a zip archive",
    ),
    "text": (lambda p: p.write_text("hello"), "it is empty, truncated, or not a zip archive"),
    "not ours": (lambda p: np.savez(p, a=np.zeros(3)), "it has no minichar header"),
    "a zip": (
        lambda p: replace_member(p, "readme.txt", b"hello"),
        "'readme.txt', which is not a valid array name",
    ),
    "later version": (
        lambda p: change(p, version=3),
        "it has format version 3, but this version of minichar reads only versions 1 to 2: upgrade",
    ),
    "no version": (lambda p: change(p, version=None), "it has format version None"),
    "objects": (lambda p: replace_member(p, "layer1.W.npy", object_array()), "not pickled objects"),
    "objects beside": (lambda p: replace_member(p, "x.npy", object_array()), "not pickled objects"),
    "declared shape": (
        lambda p: replace_member(p, "readout.W.npy", npy("<f4", (10**12,), bytes(96))),
        "has shape (1000000000000,)",
    ),
    "units": (lambda p: change_config(p, rnn_size=2**40), "rnn_size is 1099511627776"),
    "layers": (lambda p: change_config(p, num_layers=10**6), "layer1.W is unexpected"),
    "missing array": (lambda p: change_array(p, "layer1.Wx", None), "layer1.Wx is missing"),
    "extra array": (lambda p: change_array(p, "extra", np.zeros(2)), "extra is unexpected"),
    "shape": (lambda p: change_array(p, "readout.W", np.zeros((2, 2))), "readout.W has shape (2, 2)"),
    "NaN": (lambda p: change_array(p, "readout.W", np.full((27, 9), np.nan, "f4")), "not finite"),
    "compressed": (compress, "save it without compression"),
    "vocabulary": (
        lambda p: change(p, vocabulary={"characters": "ab", "unknown": False}),
        "2 characters but its config specifies",
    ),
    "header": (lambda p: change(p, config=None), "its header is incomplete or invalid"),
    "deep header": (lambda p: put_together(p, '{"a":' * 9000, parts(p)[1]), "its header is not JSON"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_invalid_checkpoint(refused, checkpoint, home, damage):
    """Every command that reads a checkpoint must report the damage."""
    os.rename(checkpoint, "x.npz")
    hurt, words = DAMAGE[damage]
    hurt(home / "x.npz")
    assert words in refused("sample", "x.npz")
    assert words in refused("inspect", "x.npz")
    assert words in refused("eval", "x.npz")
    if damage != "not ours":  # convert accepts arrays without a model
        assert words in refused("convert", "x.npz", "y.npz")
    assert words in refused("train", "--data", "input.txt", "--init-from", "x.npz")
    assert words in refused("train", "--resume", "x.npz")
    assert not (home / "boom").exists()


def test_directory_without_checkpoints(refused, home):
    (home / "x").mkdir()
    for arguments in (
        ["sample", "x"],
        ["eval", "x"],
        ["inspect", "x"],
        ["convert", "x"],
        ["train", "--resume", "x"],
        ["train", "--data", "input.txt", "--init-from", "x"],
    ):
        assert "no checkpoint in x/: train one" in refused(*arguments)


@pytest.mark.parametrize("name", ["mean_square", "state"])
@pytest.mark.parametrize(
    "array", [None, np.zeros(3), np.array(["a"]), np.full((1, 2, 8, 4), np.inf)], ids=str
)
def test_invalid_training_state(refused, train, home, name, array):
    os.rename(train("--max-epochs", 1), "x.npz")
    change_array(home / "x.npz", name, array)
    refused("train", "--resume", "x.npz", "--max-epochs", 2)


def test_a_directory_of_runs(refused, cli, train):
    for trial, rate in enumerate((0.01, 0.05, 0.001)):
        train("--checkpoint-dir", f"runs/trial-{trial}", "--max-epochs", 1, "--learning-rate", rate)
    best = min(Path("runs").glob("*/*.npz"), key=loss_in_name).parent
    for arguments in (["sample", "runs"], ["eval", "runs"], ["train", "--resume", "runs"]):
        assert refused(*arguments) == (
            f"Error: no checkpoint in runs/: choose one of its subdirectories, such as {best}"
        )


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("x.pt", "start a new run with --init-from"),
        ("x.safetensors", "start a new run with --init-from"),
        ("x.onnx", "only .npz checkpoints store it"),
        ("x.html", "only .npz checkpoints store it"),
    ],
)
def test_a_format_without_training_state_cannot_be_resumed(refused, home, name, advice):
    (home / name).write_bytes(b"x")
    error = refused("train", "--resume", name)
    assert error == f"Error: {name} has no training state to resume from: {advice}"
    with pytest.raises(minichar.MinicharError, match="has no training state to resume from"):
        minichar.train(resume=name, progress=False)
    (home / name).unlink()
    assert f"no such checkpoint: {name!r}" in refused("train", "--resume", name)


def test_converted_model_cannot_be_resumed(refused, cli, checkpoint):
    path = cli("convert", checkpoint).stdout.strip()
    assert "use --init-from to start from its weights" in refused("train", "--resume", path)
