"""Test shell completion."""

import pytest
from click.shell_completion import ShellComplete

from minichar.cli import main
from minichar.engine.cells import CELLS


@pytest.fixture
def complete(home):
    """Return a function that completes the last of its arguments, and returns the suggestions.

    A path that the shell completes instead is preceded by ``file:``.
    """
    (home / "cv").mkdir()
    for loss in ("1.7000", "1.5000", "1.6000"):
        (home / "cv" / f"lm_lstm_epoch1.00_{loss}.npz").touch()
    (home / "empty").mkdir()
    for name in ("small.npz", "small.onnx", "weights.pt"):
        (home / name).touch()
    completion = ShellComplete(main, {}, "minichar", "_MINICHAR_COMPLETE")

    def complete(*words):
        items = completion.get_completions([*words[:-1]], words[-1])
        return [item.value if item.type == "plain" else f"{item.type}:{item.value}" for item in items]

    return complete


CHECKPOINTS = [f"cv/lm_lstm_epoch1.00_{loss}.npz" for loss in ("1.5000", "1.6000", "1.7000")]


@pytest.mark.parametrize(
    "words", [("sample",), ("serve",), ("plot", "small.npz"), ("convert",), ("train", "--resume")]
)
def test_models_and_the_checkpoints_in_directories_are_completed_best_first(complete, words):
    assert complete(*words, "") == ["cv", *CHECKPOINTS, "small.npz", "weights.pt"]
    assert complete(*words, "cv") == ["cv", *CHECKPOINTS]
    assert complete(*words, "w") == ["weights.pt"]
    assert complete(*words, "cv/lm_lstm") == CHECKPOINTS


def test_a_home_directory_stays_abbreviated(complete, home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    assert complete("sample", "~/sm") == ["~/small.npz"]
    assert complete("sample", "~/cv") == [f"~/{name}" for name in ("cv", *CHECKPOINTS)]


@pytest.mark.parametrize("words", [("sample", "empty"), ("sample", "nowhere/x"), ("train", "--data", "in")])
def test_other_paths_are_completed_by_the_shell(complete, words):
    assert complete(*words) == [f"file:{words[-1]}"]


def test_commands_options_and_choices_are_completed(complete, capsys):
    assert complete("tr") == ["train"]
    assert complete("train", "--rnn") == complete("train", "--help-all", "--rnn") == ["--rnn-size"]
    assert complete("train", "--model", "l") == ["lstm"]
    assert complete("train", "--help-") == ["--help-all"]
    assert complete("train", "--model", "") == ["auto", *CELLS]
    for option in ("--model", "--rnn-size"):
        assert complete("train", option, "a") == complete("train", option, "AU") == ["auto"]
    assert complete("train", "--rnn-size", "6") == []
    assert capsys.readouterr() == ("", "")


def test_completion_does_not_open_a_device(complete, monkeypatch):
    monkeypatch.setattr("minichar.cli.options.open_devices", lambda *_: pytest.fail("a device was opened"))
    assert complete("eval", "--device", "gpu", "w") == ["weights.pt"]
