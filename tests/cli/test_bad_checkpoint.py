"""Test that commands reject invalid and unsuitable checkpoints with a one-line error and change no files."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from toys import TEXT, TOY, parts, put_together

import minichar
from minichar.checkpoints.naming import loss_in_name


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


@pytest.mark.parametrize("absolute", [False, True])
def test_the_training_text_is_missing(refused, cli, home, absolute):
    """It is a dataset, of which first the file and then the directory is deleted."""
    data = (home / "data" if absolute else Path("data")) / "tang300"
    data.mkdir(parents=True)
    (data / "input.txt").write_text(TEXT)
    cli("train", "--data", data, *TOY, "--max-epochs", 1)
    (data / "input.txt").unlink()
    assert "get it with `minichar data get tang300`" in refused("eval")
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


@pytest.mark.parametrize("damage", ["missing", "truncated", "shape"])
def test_invalid_checkpoint(refused, checkpoint, home, damage):
    """Every command that reads a checkpoint must report the damage."""
    os.rename(checkpoint, "x.npz")
    commands = [
        "sample",
        "inspect",
        "eval",
        "train --data input.txt --init-from",
        "train --resume",
        "convert",
    ]
    if damage == "missing":
        (home / "x.npz").unlink()
        words = "no such checkpoint: 'x.npz'"
    elif damage == "truncated":
        (home / "x.npz").write_bytes((home / "x.npz").read_bytes()[:-300])
        words = "it is empty, truncated, or not a zip"
    else:
        header, arrays = parts("x.npz")
        put_together("x.npz", header, arrays | {"readout.W": np.zeros((2, 2))})
        words = "readout.W has shape (2, 2)"
    for command in commands:
        assert words in refused(*command.split(), "x.npz")


def test_directory_without_checkpoints(refused, home):
    (home / "x").mkdir()
    for command in ("sample", "convert", "train --resume", "train --data input.txt --init-from"):
        assert "no checkpoint in x/: train one" in refused(*command.split(), "x")


def test_without_the_default_directory_others_are_named(refused, checkpoint, home):
    (home / "cv").rename(home / "cv-b")
    shutil.copytree("cv-b", "cv-a")
    (home / "arrays").mkdir()
    (home / "arrays" / "x.npz").touch()
    for command in ("sample", "inspect", "plot", "train --resume"):
        assert refused(*command.split()) == (
            "Error: no checkpoint in cv/: choose another directory, such as cv-a or cv-b"
        )
    (home / "cv").mkdir()
    change = "train one with `minichar train`, or change to the directory in which you did"
    assert refused("sample") == f"Error: no checkpoint in cv/: {change}"


def test_a_directory_of_runs(refused, cli, train):
    for trial, rate in enumerate((0.01, 0.05, 0.001)):
        train("--checkpoint-dir", f"runs/trial-{trial}", "--max-epochs", 1, "--learning-rate", rate)
    best = min(Path("runs").glob("*/*.npz"), key=loss_in_name).parent
    for arguments in (["sample", "runs"], ["train", "--resume", "runs"]):
        assert refused(*arguments) == (
            f"Error: no checkpoint in runs/: choose one of its subdirectories, such as {best}"
        )


@pytest.mark.parametrize(
    ("name", "advice"),
    [("x.pt", "start a new run with --init-from"), ("x.onnx", "only .npz checkpoints store it")],
)
def test_a_format_without_training_state_cannot_be_resumed(refused, home, name, advice):
    (home / name).write_bytes(b"x")
    error = refused("train", "--resume", name)
    assert error == f"Error: {name} has no training state to resume from: {advice}"
    with pytest.raises(minichar.MinicharError, match="has no training state to resume from"):
        minichar.train(resume=name, progress=False)
    (home / name).unlink()
    assert f"no such checkpoint: {name!r}" in refused("train", "--resume", name)
