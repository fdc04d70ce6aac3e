import numpy as np
import pytest

from minichar import CharRNN, Vocabulary
from minichar.devices.cpu import CPU, NumPyBackend
from minichar.engine.config import Config


def new(seed=1, **config):
    return CharRNN.new(
        Config(3, **{"rnn_size": 2, "num_layers": 1} | config), Vocabulary("abc"), seed, "float64"
    )


def test_initial_weights():
    """Initial weights are uniform in ±0.08 and depend only on the seed."""
    model = new()
    np.testing.assert_allclose(
        model.parameters["layer1.W"][0], [0.00189146, 0.07207419, -0.05693446], atol=1e-8
    )
    assert abs(model.parameters["readout.W"]).max() < 0.08
    assert (model.parameters.flat != new(seed=2).parameters.flat).any()


def test_copy_on_another_device():
    model, other = new(), NumPyBackend()
    assert model.on(CPU) is model
    there = model.on(other)
    assert there.parameters.backend is other
    assert there.parameters.dtype == "float64"
    assert not np.shares_memory(there.parameters.flat, model.parameters.flat)
    np.testing.assert_array_equal(there.parameters["readout.W"], model.parameters["readout.W"])


def test_summary():
    assert new().summary() == "LSTM, 1 layer of 2, 57 parameters"
    gru = new(model="gru", num_layers=2, dropout=0.25, weight_drop=0.1)
    layers = "2 layers of 2, dropout 0.25, weight drop 0.1, 87 parameters"
    assert gru.summary() == f"GRU, {layers}"
    assert new(layer_norm=True).summary().startswith("LSTM with layer normalisation, 1 layer of 2, ")


@pytest.mark.parametrize(
    ("settings", "path", "title"),
    [
        ({"title": "Tang poems"}, "/home/ann/poems.txt", "Tang poems"),
        ({"title": ""}, "/home/ann/poems.txt", "poems"),
        ({}, "data/pydocs/input.txt", "pydocs"),
        ({}, r"C:\Users\ann\tang\input.txt", "tang"),
        ({}, "input.txt", "input"),
        ({"title": 5}, "/home/ann/poems", "poems"),
        (["title"], 5, ""),
        ({"title": "two\nlines"}, "two\nlines.txt", ""),
    ],
)
def test_title_is_that_of_the_run_or_the_name_of_its_text(settings, path, title):
    model = new()
    assert model.title == model.origin() == ""
    model.details |= {"settings": settings, "origin": {"path": path}}
    assert model.title == title
    assert model.origin() == f", trained on {path!r}"
