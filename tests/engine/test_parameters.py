"""Tests for parameters, the configuration that determines their shapes, and their initial values."""

from math import prod

import numpy as np
import pytest
from cells import ODD

from minichar.devices.cpu import CPU
from minichar.engine.config import Config, initialise
from minichar.engine.parameters import Parameters
from minichar.engine.registry import CELLS
from minichar.errors import MinicharError

MAX_SIZE = 1 << 20
SHAPES = {"b": (2, 3), "a": (4,), "c": (1, 2)}

# char-rnn's parameter counts for V = 65, L = 3 and H = 512, and the number of gates that have one bias here
# instead of char-rnn's two.
CHAR_RNN = [
    ("rnn", 1_380_417, 1),
    ("gru", 4_074_561, 0),  # keeps both biases for the reset gate after the matrix product
    ("gru-reset-before", 4_074_561, 3),
    ("lstm", 5_421_633, 4),
]


class TestParameters:
    def test_views_share_memory_with_the_flat_vector(self, backend, host):
        parameters = Parameters(SHAPES, backend=backend)
        parameters.flat[...] = backend.to_device(np.arange(12))
        np.testing.assert_array_equal(host(parameters["b"]), [[0, 1, 2], [3, 4, 5]])
        np.testing.assert_array_equal(host(parameters["a"]), [6, 7, 8, 9])
        for name, view in parameters.items():
            view[...] = ord(name)
        assert bytes(host(parameters.flat).astype("uint8")) == b"bbbbbbaaaacc"
        assert repr(parameters) == "Parameters: 12 values, float32\n  b (2, 3)\n  a (4,)\n  c (1, 2)"

    def test_a_twin_has_the_same_layout_and_separate_zeros(self, backend, host):
        parameters = Parameters(SHAPES, "float64", backend)
        parameters.flat[...] = 1.0
        twin = parameters.twin()
        assert twin.shapes == parameters.shapes
        assert twin.backend is backend
        assert twin.dtype == "float64"
        assert Parameters(SHAPES).dtype == "float32"
        assert not host(twin.flat).any()
        twin.flat[...] = 2.0
        assert (host(parameters.flat) == 1.0).all()
        assert parameters.twin("complex128").dtype == "complex128"


class TestConfig:
    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"model": "transformer"}, "must be one of gru, gru-reset-before, lstm, rnn"),
            ({"vocab_size": 0}, "vocab_size is 0"),
            ({"vocab_size": MAX_SIZE + 1}, "vocab_size is 1048577"),
            ({"rnn_size": 128.0}, "rnn_size is 128.0"),
            ({"num_layers": True}, "num_layers is True"),
            ({"dropout": 1.0}, "at least 0 and below 1"),
            ({"dropout": float("nan")}, "dropout is nan"),
        ],
    )
    def test_a_value_out_of_range_is_reported_in_one_line(self, wrong, words):
        with pytest.raises(MinicharError, match=words) as caught:
            Config(**{"vocab_size": 65} | wrong)
        assert "\n" not in str(caught.value)
        Config(1, rnn_size=1, num_layers=1, dropout=0)
        Config(MAX_SIZE, rnn_size=MAX_SIZE, num_layers=MAX_SIZE, dropout=0.999)

    @pytest.mark.parametrize(("cell", "size", "fewer_biases"), CHAR_RNN)
    def test_the_number_of_parameters_is_that_of_char_rnn_without_the_second_bias(
        self, cell, size, fewer_biases
    ):
        shapes = Config(65, cell, rnn_size=512, num_layers=3).shapes()
        assert sum(map(prod, shapes.values())) + fewer_biases * 512 * 3 == size

    def test_names_and_shapes_of_a_two_layer_network(self):
        H, V = 3, 8
        assert Config(V, "lstm", H).shapes() == {
            "layer1.W": (4 * H, H + 1),
            "layer1.Wx": (4 * H, V),
            "layer2.W": (4 * H, 2 * H + 1),
            "readout.W": (V, H + 1),
        }
        names = ["layer1.W", "layer1.Wn", "layer1.Wx", "layer2.W", "layer2.Wn", "readout.W"]
        assert list(Config(V, "gru-reset-before", H).shapes()) == names
        assert Config(8, "gru", 3, 4).state_shape(B=5) == (4, 1, 3, 5)
        assert Config(8, "lstm", 3, 4).state_shape(B=5) == (4, 2, 3, 5)


class TestInitialise:
    @staticmethod
    def fresh(config, seed, dtype="float64", backend=CPU):
        parameters = Parameters(config.shapes(), dtype, backend)
        initialise(config, parameters, np.random.default_rng(seed))
        return parameters

    def test_weights_are_uniform_around_zero(self):
        weights = self.fresh(Config(65, "gru", 64), 1).flat
        # A uniform distribution on ±0.08 has a standard deviation of 0.08/√3. There are over 50,000 samples.
        assert abs(weights).max() <= 0.08
        assert abs(weights).max() > 0.0799
        assert weights.mean() == pytest.approx(0, abs=0.001)
        assert weights.std() == pytest.approx(0.08 / np.sqrt(3), rel=0.02)

    def test_only_the_declared_biases_are_not_drawn(self, monkeypatch):
        """The gates of an LSTM are in the order i, f, o, g, and `ODD` declares biases of q and n."""
        monkeypatch.setitem(CELLS, ODD.name, ODD)
        for cell, biases in (
            ("lstm", {"W": [0, 1, 0, 0]}),
            (ODD.name, {"P": [0, 2], "R": [0, 0], "Wn": [-3]}),
        ):
            parameters = self.fresh(Config(8, cell, 5, 3), 1)
            for layer in (1, 2, 3):
                for name, wanted in biases.items():
                    bias = parameters[f"layer{layer}.{name}"][:, -1].reshape(-1, 5)  # (gates, H)
                    np.testing.assert_array_equal(np.where(abs(bias) > 0.08, bias, 0).T, [wanted] * 5)
            declared = 3 * 5 * np.count_nonzero(np.concatenate([*biases.values()]))
            assert np.count_nonzero(abs(parameters.flat) > 0.08) == declared

    def test_the_same_seed_gives_the_same_weights_for_every_dtype_and_device(self, backend, host):
        config = Config(8, "lstm", 3)
        exact = self.fresh(config, 1)
        for dtype in ("float32", "float64"):
            there = self.fresh(config, 1, dtype, backend)
            np.testing.assert_array_equal(host(there.flat), exact.flat.astype(dtype))
        assert (exact.flat != self.fresh(config, 2).flat).mean() > 0.9
