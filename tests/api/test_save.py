from importlib.util import find_spec

import numpy as np
import pytest
from toys import toy_model

import minichar


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_the_suffix_selects_the_format_as_in_the_method(model, tmp_path, suffix):
    needed = {".safetensors": "safetensors", ".pt": "torch"}.get(suffix)
    if needed and not find_spec(needed):
        pytest.skip(f"requires {needed}")
    by_function, by_method = tmp_path / f"function{suffix}", tmp_path / f"method{suffix}"
    minichar.save(by_function, model, "float32")
    model.save(by_method, "float32")
    assert by_function.read_bytes() == by_method.read_bytes()
    assert minichar.load(by_function).generate(length=30) == minichar.load(by_method).generate(length=30)


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
