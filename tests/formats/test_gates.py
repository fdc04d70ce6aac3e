"""Test conversion to the gate layouts of other libraries, including for a cell with unusual gate orders."""

import numpy as np
import pytest

from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.config import Config
from minichar.engine.parameters import Parameters
from minichar.engine.registry import CELLS
from minichar.errors import MinicharError
from minichar.formats.convert import load_model, save_model
from minichar.formats.gates import TORCH, Counterpart, join, split
from minichar.formats.state_dict import config_of
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary


def unusable(*arguments):
    raise AssertionError("this test must not run the cell")


@pytest.fixture
def odd_cell(monkeypatch):
    """Register a cell with no PyTorch equivalent, whose matrix products use different gate orders."""
    products = (Product("U", "zr", reads_x=False), Product("W", "rz", reads_state=False), Product("Wn", "n"))
    stage = Stage(products, unusable, unusable, cache="")
    cell = Cell("odd", "Odd cell", "h", (stage,))
    monkeypatch.setitem(CELLS, "odd", cell)
    return cell


@pytest.mark.parametrize("layer", [1, 2])
def test_matrix_products_can_have_different_gate_orders(odd_cell, layer):
    config = Config(5, "odd", 3, 2)
    values = np.random.default_rng(1)
    weights = {name: values.normal(size=shape) for name, shape in config.shapes().items()}
    form = Counterpart("Odd", "nzr")
    theirs = split(config, weights, layer, form)
    U, W, Wn = (weights[f"layer{layer}.{name}"] for name in ("U", "W", "Wn"))
    np.testing.assert_array_equal(theirs.W_recurrent, np.concatenate([Wn[:, :3], U[:3, :3], U[3:, :3]]))
    np.testing.assert_array_equal(theirs.b_recurrent, np.concatenate([np.zeros(3), U[:3, -1], U[3:, -1]]))
    np.testing.assert_array_equal(theirs.b_input, np.concatenate([Wn[:, -1], W[3:, -1], W[:3, -1]]))
    back = Parameters(config.shapes(), "float64")
    join(config, theirs, layer, form, back)
    for name, array in back.items():
        expected = weights[name] if name.startswith(f"layer{layer}.") else 0
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "onnx", "html"])
def test_a_cell_without_a_counterpart_is_a_one_line_error(odd_cell, tmp_path, suffix):
    model = CharRNN.new(Config(3, "odd", 2, 1), Vocabulary("abc"), 1)
    form = {"onnx": "ONNX", "html": "JavaScript"}.get(suffix, "PyTorch")
    message = rf"^cannot convert .*odd\.{suffix}: Odd cell has no {form} counterpart; use \.npz$"
    with pytest.raises(MinicharError, match=message):
        save_model(model, tmp_path / f"odd.{suffix}")
    assert list(tmp_path.iterdir()) == []
    save_model(model, tmp_path / "odd.npz")
    np.testing.assert_array_equal(load_model(tmp_path / "odd.npz").parameters.flat, model.parameters.flat)


def test_layer_normalisation_has_no_counterpart(make, tmp_path):
    message = r"normalisation has no PyTorch counterpart; use \.npz, or train a model with layer_norm=False$"
    with pytest.raises(MinicharError, match=message):
        save_model(make(layer_norm=True), tmp_path / "model.pt")
    save_model(make(layer_norm=True), tmp_path / "model.npz")
    assert load_model(tmp_path / "model.npz").config.layer_norm


def test_a_custom_cell_is_not_used_instead_of_a_pytorch_cell(monkeypatch):
    """The shapes in a state dict reveal only the number of gates, which the custom cell shares with LSTM."""
    stage = Stage((Product("W", "abcd"),), unusable, unusable, cache="")
    monkeypatch.setitem(CELLS, "own", Cell("own", "Own", "h", (stage,)))
    monkeypatch.setitem(TORCH, "own", Counterpart("Own", "abcd"))
    shapes = {"rnn.weight_ih_l0": (12, 7), "rnn.weight_hh_l0": (12, 3)}
    assert config_of(shapes) == Config(7, "lstm", 3, 1)
