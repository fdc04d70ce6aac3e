from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from api_helpers import OVERFITTING, train
from toys import toy_model

import minichar
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
    minichar.save(tmp_path / f"function{suffix}", toy_model(scale=40.0))  # a `CharRNN`
    assert (tmp_path / f"function{suffix}").read_bytes() == (tmp_path / f"model{suffix}").read_bytes()


NUL = r"path is 'a\\x00b\.npz'; it must be text without characters"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: minichar.load("a\0b.npz"), NUL),
        (lambda model: model.save("a\0b.npz"), NUL),
        (lambda model: minichar.load(None), "path is None; it must be a local path$"),
        (lambda model: minichar.load(model), r"^path is minichar\.Model.*; it must be a local path$"),
        (lambda model: minichar.load("a.pt", vocabulary="ab"), "y is 'ab'; it must be a Vocabulary"),
        (lambda model: minichar.save("x.npz", "no"), "model is 'no'; it must be a model"),
    ],
)
def test_wrong_types_raise(model, call, message):
    with pytest.raises(minichar.MinicharError, match=message):
        call(model)


def test_load_from_a_directory_uses_the_best_checkpoint_with_its_history(text):
    best = train(text, **OVERFITTING)
    for loaded in (minichar.load(), minichar.load(text / "cv")):
        np.testing.assert_array_equal(loaded.parameters.flat, best.parameters.flat)
        assert best.history[: len(loaded.history)] == loaded.history
        assert len(loaded.history) < len(best.history)
    with pytest.raises(minichar.MinicharError, match="no checkpoint in"):
        minichar.load(text)
    assert best.exact().history == best.history
    best.save("saved.npz")
    assert minichar.load("saved.npz").history == best.history
    assert read_curve(Path("saved.npz"), "saved")[:3] == ("saved", best.history, None)
