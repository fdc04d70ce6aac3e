import numpy as np
import pytest
from toys import listing, parts, take, toy_model, toy_settings

from minichar import MinicharError, generate, load
from minichar.checkpoints.checkpoint import load_training, save
from minichar.formats.convert import convert
from minichar.training.start import begin


@pytest.fixture
def source(tmp_path, cell):
    """A checkpoint of training."""
    trainer = begin(toy_settings(tmp_path, **cell)).trainer
    take(trainer, 10)
    return trainer.saved[-1]


def test_what_is_for_sampling_stays_and_the_rest_goes(source):
    path = convert(str(source))
    assert path == source.with_name(source.name.removesuffix(".npz") + ".inference.npz")
    old, new = load(source), load(path)
    header, arrays = parts(path)
    assert arrays.keys() == old.parameters.shapes.keys()
    assert header.keys() == {"format", "version", "config", "vocabulary", "details"}
    assert (new.config, new.vocabulary, new.details) == (old.config, old.vocabulary, old.details)
    np.testing.assert_array_equal(new.parameters.flat, old.parameters.flat)
    assert path.stat().st_size < 0.75 * source.stat().st_size
    with pytest.raises(MinicharError, match="--init-from can start from it"):
        load_training(path)


def test_the_text_is_the_same(source):
    path = convert(str(source))
    old, new = ("".join(generate(load(p), 300, seed=4)) for p in (source, path))
    assert old == new


def test_half_precision(source, tmp_path):
    path = convert(str(source), str(tmp_path / "half.npz"), "float16")
    assert {array.dtype.name for array in parts(path)[1].values()} == {"float16"}
    np.testing.assert_allclose(load(path).parameters.flat, load(source).parameters.flat, rtol=1e-3, atol=1e-7)
    assert load(path).parameters.dtype == "float32"
    weights = sum(array.nbytes for array in parts(path)[1].values())
    assert weights * 2 == sum(array.nbytes for array in parts(convert(str(source)))[1].values())


def test_a_model_of_double_precision_becomes_single(tmp_path):
    save(tmp_path / "double.npz", toy_model(dtype="float64"))
    path = convert(str(tmp_path / "double.npz"))
    assert {array.dtype.name for array in parts(path)[1].values()} == {"float32"}


def test_a_converted_model_can_be_converted(source, tmp_path):
    once = convert(str(source))
    twice = convert(str(once), str(tmp_path / "twice.npz"))
    assert once.read_bytes() == twice.read_bytes()


def test_an_existing_file_is_left_alone(source, tmp_path):
    (tmp_path / "there.npz").write_text("mine")
    with pytest.raises(MinicharError, match=r"there\.npz exists already: give another name, or --force"):
        convert(str(source), str(tmp_path / "there.npz"))
    assert (tmp_path / "there.npz").read_text() == "mine"
    assert load(convert(str(source), str(tmp_path / "there.npz"), force=True)).config == load(source).config


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_in_the_place_of_the_target(source, tmp_path, force):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(MinicharError, match=r"exists already|cannot write"):
        convert(str(source), str(tmp_path / "folder.npz"), force=force)
    assert (tmp_path / "folder.npz").is_dir()


def test_a_weight_too_large_for_half_precision(tmp_path):
    model = toy_model(dtype="float32")
    model.parameters["readout.W"][0, 0] = 70_000
    save(tmp_path / "large.npz", model)
    before = listing(tmp_path)
    with pytest.raises(MinicharError, match=r"readout\.W holds values that float16 cannot"):
        convert(str(tmp_path / "large.npz"), dtype="float16")
    assert listing(tmp_path) == before


def test_a_missing_source(tmp_path):
    with pytest.raises(MinicharError, match="no such checkpoint"):
        convert(str(tmp_path / "nothing.npz"))
    assert listing(tmp_path) == {}


def test_a_source_without_the_usual_ending(source, tmp_path):
    plain = source.rename(tmp_path / "model_1.5")
    assert convert(str(plain)) == tmp_path / "model_1.5.inference.npz"
