from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from api_helpers import OVERFITTING, train
from toys import history_with, parts, toy_model

import minichar
from minichar.history import COLUMNS
from minichar.pictures.curves import read_curve


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_saved_and_loaded_model_is_equal(model, tmp_path, suffix):
    needed = {".safetensors": "safetensors", ".pt": "torch"}.get(suffix)
    if needed and not find_spec(needed):
        pytest.skip(f"requires {needed}")
    model.save(tmp_path / f"model{suffix}")
    back = minichar.load(tmp_path / f"model{suffix}")
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)
    assert (type(back), back.config, back.vocabulary) == (minichar.Model, model.config, model.vocabulary)
    assert back.generate(length=30) == model.generate(length=30)
    minichar.save(tmp_path / f"function{suffix}", model)
    assert (tmp_path / f"function{suffix}").read_bytes() == (tmp_path / f"model{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "a\0b.npz"}, r"path is 'a\\x00b\.npz'; it must be text without characters that are"),
        ({"path": None}, "path is None; it must be a local path"),
        ({"path": "model.pt", "vocabulary": "ab"}, "vocabulary is 'ab'; it must be a Vocabulary"),
    ],
)
def test_wrong_types_raise(arguments, message):
    with pytest.raises(minichar.MinicharError, match=message):
        minichar.load(**arguments)


def test_load_from_a_directory_uses_the_best_checkpoint(text):
    best = train(text, **OVERFITTING)
    for folder in ("cv", text / "cv"):
        np.testing.assert_array_equal(minichar.load(folder).parameters.flat, best.parameters.flat)
    np.testing.assert_array_equal(minichar.load().parameters.flat, best.parameters.flat)
    with pytest.raises(minichar.MinicharError, match="no checkpoint in"):
        minichar.load(text)


def test_history_is_saved_and_loaded(text):
    model = train(text, **OVERFITTING)
    best = minichar.load("cv").history
    assert model.history[: len(best)] == best
    assert len(best) < len(model.history)
    assert model.exact().history == model.history
    model.save("saved.npz")
    assert minichar.load("saved.npz").history == model.history
    assert read_curve(Path("saved.npz"), "saved")[:3] == ("saved", model.history, None)


def test_a_saved_history_is_an_array(model, tmp_path):
    """A header has a limited number of values, which a long history would exceed."""
    model.history = history_with(epoch=[1.5] * 100_000)
    model.save(tmp_path / "long.npz")
    header, arrays = parts(tmp_path / "long.npz")
    assert arrays["history"].shape == (100_000, len(COLUMNS))
    assert header["details"] == model.details
    assert minichar.load(tmp_path / "long.npz").history == model.history


def test_an_entry_of_the_details_is_not_the_history(model, tmp_path):
    model.details = {"history": 5}
    model.save(tmp_path / "model.npz")
    assert len(minichar.load(tmp_path / "model.npz").history) == 0


def test_a_model_without_methods_can_be_saved(tmp_path):
    model = toy_model()
    minichar.save(tmp_path / "own.npz", model)
    np.testing.assert_array_equal(minichar.load(tmp_path / "own.npz").parameters.flat, model.parameters.flat)


def test_the_model_must_be_a_model(model, tmp_path):
    with pytest.raises(minichar.MinicharError, match="model is 'no'; it must be a model"):
        minichar.save(tmp_path / "x.npz", "no")
    with pytest.raises(minichar.MinicharError, match=r"^path is minichar\.Model.*; it must be a local path$"):
        minichar.load(model)


def test_file_names_that_are_not_valid_raise(model):
    message = r"path is 'a\\x00b\.npz'; it must be text without characters that are invalid in file names"
    for call in (lambda: minichar.save("a\0b.npz", model), lambda: model.save("a\0b.npz")):
        with pytest.raises(minichar.MinicharError, match=message):
            call()
