import json
from dataclasses import asdict

import numpy as np
import pytest
from toys import WRONG, parts, places, put_together, set_at, toy_model, toy_training

from minichar.checkpoints.checkpoint import load, load_training, read_header, save
from minichar.engine.config import Config
from minichar.errors import MinicharError, Refused

DAMAGED = "is not a checkpoint that minichar can read"


@pytest.fixture
def model():
    model = toy_model("\n aé汉𝄞", unknown=True)
    model.details = {"val_loss": 1.25, "nested": {"list": [1, None, "x"]}}
    return model


@pytest.fixture
def path(tmp_path):
    """Return the path of a checkpoint with training state."""
    lstm = toy_model()
    save(tmp_path / "toy.npz", lstm, toy_training(lstm))
    return tmp_path / "toy.npz"


@pytest.fixture
def forge(path):
    """Return a function that calls ``change(header, arrays)`` to modify a valid checkpoint."""

    def forge(change):
        header, arrays = parts(path)
        change(header, arrays)
        return put_together(path, header, arrays)

    return forge


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_checkpoint_round_trips(model, tmp_path, dtype):
    parameters = model.parameters.twin(dtype)
    parameters.flat[...] = model.parameters.flat
    model.parameters = parameters
    training = toy_training(model)
    save(tmp_path / "toy.npz", model, training)
    back, again = load_training(tmp_path / "toy.npz")
    assert (back.config, back.vocabulary, back.details) == (model.config, model.vocabulary, model.details)
    assert back.parameters.shapes == model.parameters.shapes
    assert back.parameters.dtype == dtype
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat)
    np.testing.assert_array_equal(again.mean_square, training.mean_square)
    np.testing.assert_array_equal(again.state, training.state)
    assert again.progress == training.progress
    np.testing.assert_array_equal(load(tmp_path / "toy.npz").parameters.flat, model.parameters.flat)


def test_plain_numpy_reads_a_checkpoint(model, tmp_path):
    save(tmp_path / "toy.npz", model, toy_training(model))
    header, arrays = parts(tmp_path / "toy.npz")  # uses numpy.load(allow_pickle=False)
    assert header["format"] == "minichar"
    assert header["version"] == 2
    assert header["config"] == asdict(model.config)
    assert header["vocabulary"] == {"characters": "\n aé汉𝄞", "unknown": True}
    assert arrays.keys() == {*model.parameters.shapes, "mean_square", "state", "history"}
    for name, view in model.parameters.items():
        np.testing.assert_array_equal(arrays[name], view)


def test_float16_weights_are_loaded_as_float32(tmp_path):
    model = toy_model(dtype="float32")
    save(tmp_path / "half.npz", model, dtype="float16")
    assert {array.dtype.name for array in parts(tmp_path / "half.npz")[1].values()} == {"float16"}
    back = load(tmp_path / "half.npz")
    assert back.parameters.dtype == "float32"
    np.testing.assert_array_equal(back.parameters.flat, model.parameters.flat.astype("float16"))


@pytest.mark.parametrize(
    ("value", "dtype"), [(1e6, "float16"), (1e300, "float32"), (np.nan, None), (np.inf, None)]
)
def test_a_weight_that_the_dtype_cannot_represent_is_rejected(path, value, dtype):
    model = toy_model()
    model.parameters["layer2.W"][1, 2] = value
    before = path.read_bytes()
    with pytest.raises(MinicharError, match=r"layer2\.W has values that float\d\d cannot represent"):
        save(path, model, dtype=dtype)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_an_archive_without_a_minichar_header_is_rejected(tmp_path):
    path = tmp_path / "theirs.npz"
    np.savez(path, weights=np.zeros(3))
    for theirs in (path, put_together(tmp_path / "other.npz", {"format": "other", "version": 1}, {})):
        with pytest.raises(MinicharError, match=f"{DAMAGED}: it has no minichar header"):
            load(theirs)


@pytest.mark.parametrize("version", [3, 1, "2", None, 1e308])
def test_other_format_versions_are_rejected(forge, version):
    path = forge(lambda header, arrays: header.update(version=version))
    message = "has format version .*, but this version of minichar reads only version 2: use the"
    with pytest.raises(MinicharError, match=message):
        load(path)


@pytest.mark.parametrize("name", ["config", "vocabulary", "details"])
def test_an_incomplete_header_is_rejected(forge, name):
    with pytest.raises(MinicharError, match=f"its header is incomplete or invalid \\('{name}'\\)"):
        load(forge(lambda header, arrays: header.pop(name)))


@pytest.mark.parametrize("name", ["layer1.Wx", "readout.W", "mean_square", "state"])
def test_the_error_for_a_missing_array_contains_its_name(forge, name):
    path = forge(lambda header, arrays: arrays.pop(name))
    with pytest.raises(MinicharError, match=f"array {name} is missing"):
        load_training(path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("layer3.W", "layer3.W"), ("layer1.U", "layer1.U"), ("x" * 1000, r"x{48}\.\.\.x{49}")],
)
def test_the_error_for_an_extra_array_contains_its_name(forge, name, shown):
    path = forge(lambda header, arrays: arrays.update({name: np.zeros(2)}))
    with pytest.raises(MinicharError, match=f"array {shown} is unexpected"):
        load(path)


@pytest.mark.parametrize(
    "change",
    [
        *({"rnn_size": size} for size in (2**40, 2**20, 0, 4.0, True, None)),
        *({"model": model} for model in ("transformer", ["lstm"], "gru")),
        {"vocab_size": 2**20},
        {"dropout": float("nan")},
    ],
    ids=str,
)
def test_an_invalid_config_is_rejected_before_parameters_are_allocated(forge, change, monkeypatch):
    monkeypatch.setattr("minichar.checkpoints.checkpoint.Parameters", None)
    path = forge(lambda header, arrays: header["config"].update(change))
    with pytest.raises(MinicharError, match=DAMAGED):
        load(path)


def test_a_config_with_more_layers_than_arrays_is_rejected_before_its_shapes_are_listed(forge, monkeypatch):
    """Listing the shapes of a million layers would take seconds."""
    path = forge(lambda header, arrays: header["config"].update(num_layers=1 << 20))
    monkeypatch.setattr(Config, "shapes", None)
    with pytest.raises(MinicharError, match=DAMAGED):
        load(path)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("unknown", True, "its vocabulary has 7 characters but its config specifies 6"),
        *[("characters", wrong, DAMAGED) for wrong in ("\n bacd", "aabcde", "", None, 6, [*"\n abcd"])],
    ],
)
def test_an_invalid_vocabulary_is_rejected(forge, field, value, why):
    path = forge(lambda header, arrays: header["vocabulary"].update({field: value}))
    with pytest.raises(MinicharError, match=why):
        load(path)


def test_weights_that_are_not_finite_are_rejected(forge):
    path = forge(lambda header, arrays: arrays["layer1.Wx"].flat.__setitem__(3, -np.inf))
    with pytest.raises(MinicharError, match=r"array layer1\.Wx has values that are not finite"):
        load(path)


@pytest.mark.parametrize("dtype", ["int64", ">f4", "longdouble"])
def test_weights_with_unsupported_or_different_dtypes_are_rejected(forge, dtype):
    path = forge(lambda header, arrays: arrays.update({"readout.W": arrays["readout.W"].astype("float32")}))
    with pytest.raises(MinicharError, match="its weights have dtypes float32, float64"):
        load(path)
    path = forge(lambda header, arrays: arrays.update({n: a.astype(dtype) for n, a in arrays.items()}))
    with pytest.raises(MinicharError, match="its weights have dtypes"):
        load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean_square", np.zeros(3)),
        ("mean_square", np.zeros((1, 1))),
        ("state", np.zeros(3)),
        ("mean_square", "float32"),
        ("theta", "int64"),
        ("theta", np.zeros(3)),
        ("theta", np.float64("nan")),
    ],
)
def test_a_training_state_that_does_not_match_the_model_is_rejected(forge, name, value):
    def change(header, arrays):
        m = arrays["mean_square"]
        arrays[name] = m.astype(value) if isinstance(value, str) else m + value if value.ndim == 0 else value

    with pytest.raises(MinicharError, match="its training state does not match its model"):
        load_training(forge(change))


def test_a_negative_mean_square_is_rejected(forge):
    path = forge(lambda header, arrays: arrays["mean_square"].__setitem__(3, -1e-9))
    with pytest.raises(MinicharError, match="array mean_square has negative values"):
        load_training(path)


def test_invalid_header_values_raise_only_minichar_errors(path):
    """Remove each header value in turn, or replace it with values of other types."""
    header, arrays = parts(path)
    header["training"]["random"] = {}
    refused = 0
    for where in places(header):
        for wrong in (..., *WRONG):
            changed = json.loads(json.dumps(header))
            set_at(changed, where, wrong)
            try:
                if where[0] == "training":
                    load_training(put_together(path, changed, arrays))
                else:
                    read_header(changed)
            except (MinicharError, Refused):
                refused += 1
    assert refused > 100
