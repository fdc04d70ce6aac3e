"""Test shell completion."""

import os

import pytest
from click.shell_completion import ShellComplete

from minichar.cli import main
from minichar.engine.cells import CELLS


@pytest.fixture
def complete(home):
    """Return a function that completes the last of its arguments and returns ``(type, value)`` pairs."""
    (home / "cv").mkdir()
    for loss in ("1.7000", "1.5000", "1.6000"):
        (home / "cv" / f"lm_lstm_epoch1.00_{loss}.npz").touch()
    (home / "empty").mkdir()
    for name in ("small.npz", "small.onnx", "weights.pt"):
        (home / name).touch()
    completion = ShellComplete(main, {}, "minichar", "_MINICHAR_COMPLETE")

    def complete(*words):
        return [(item.type, item.value) for item in completion.get_completions([*words[:-1]], words[-1])]

    return complete


CHECKPOINTS = [f"cv{os.sep}lm_lstm_epoch1.00_{loss}.npz" for loss in ("1.5000", "1.6000", "1.7000")]


@pytest.mark.parametrize(
    "words", [("sample",), ("serve",), ("plot", "small.npz"), ("convert",), ("train", "--resume")]
)
def test_models_and_the_checkpoints_in_directories_are_completed_best_first(complete, words):
    expected = ["cv", *CHECKPOINTS, "small.npz", "weights.pt"]
    assert complete(*words, "") == [("plain", name) for name in expected]
    assert complete(*words, "cv") == [("plain", name) for name in ("cv", *CHECKPOINTS)]
    assert complete(*words, "w") == [("plain", "weights.pt")]
    assert complete(*words, f"cv{os.sep}lm_lstm") == [("plain", name) for name in CHECKPOINTS]


def test_a_home_directory_stays_abbreviated(complete, home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert complete("sample", f"~{os.sep}sm") == [("plain", f"~{os.sep}small.npz")]
    expected = [f"~{os.sep}{name}" for name in ("cv", *CHECKPOINTS)]
    assert complete("sample", f"~{os.sep}cv") == [("plain", name) for name in expected]


@pytest.mark.parametrize(
    "words", [("sample", "empty"), ("sample", f"nowhere{os.sep}x"), ("train", "--data", "in")]
)
def test_other_paths_are_completed_by_the_shell(complete, words):
    assert complete(*words) == [("file", words[-1])]


def test_commands_options_and_choices_are_completed(complete, capsys):
    assert complete("tr") == [("plain", "train")]
    assert complete("train", "--rnn") == [("plain", "--rnn-size")]
    assert complete("train", "--model", "l") == [("plain", "lstm")]
    assert complete("train", "--help-") == [("plain", "--help-all")]
    assert complete("sweep", "--search", "learning_rate_d") == [
        ("plain", "learning_rate_decay="),
        ("plain", "learning_rate_decay_after="),
    ]
    assert complete("train", "--help-all", "--rnn") == [("plain", "--rnn-size")]
    assert capsys.readouterr() == ("", "")


def test_auto_is_completed(complete):
    names = ["auto", *CELLS]
    assert complete("train", "--model", "") == [("plain", name) for name in names]
    for option in ("--model", "--rnn-size"):
        assert complete("train", option, "a") == complete("train", option, "AU") == [("plain", "auto")]
    assert complete("train", "--rnn-size", "6") == []


def test_completion_does_not_open_a_device(complete, monkeypatch):
    open_devices = "minichar.cli.options.open_devices"
    monkeypatch.setattr(open_devices, lambda name, tf32: pytest.fail("a device was opened"))
    assert complete("eval", "--device", "gpu", "w") == [("plain", "weights.pt")]
