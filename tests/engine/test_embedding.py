from functools import reduce
from operator import add, mul

import numpy as np
import pytest
from cells import IN_PYTORCH

from minichar.engine.config import Config, initialise
from minichar.engine.embedding import Embedding, without_embedding
from minichar.engine.gradcheck import toy_network
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.formats.convert import load_model, save_model
from minichar.model import CharRNN
from minichar.sampling.generate import generate, generate_many
from minichar.text.vocabulary import Vocabulary

T, B, V, H, D = 4, 2, 7, 3, 5


@pytest.fixture
def config(cell):
    return Config(V, cell, rnn_size=H, num_layers=2, embedding=D)


def test_each_character_is_its_column_and_the_gradient_sums_over_its_occurrences(backend, host):
    E, dE = backend.to_device(np.arange(12.0).reshape(3, 4)), backend.zeros((3, 4), "float64")
    embedding = Embedding(E, dE, backend)
    ids = backend.to_device(np.array([[2, 0], [2, 3]]))  # (n, B)
    x = [[[2, 0], [6, 4], [10, 8]], [[2, 3], [6, 7], [10, 11]]]
    np.testing.assert_array_equal(host(embedding.forward(ids)), x)
    dx = np.arange(12.0).reshape(2, 3, 2)  # (n, D, B)
    embedding.backward(backend.to_device(dx), ids)
    np.testing.assert_array_equal(host(dE), [[1, 0, 6, 7], [3, 0, 10, 9], [5, 0, 14, 11]])


def test_an_equivalent_network_without_embedding(config, generator, backend, host):
    network = toy_network(config, T, B, generator, backend)
    assert network.parameters["embedding.E"].shape == (D, V)
    assert "layer1.Wx" not in network.parameters.shapes
    plain, parameters = without_embedding(config, network.parameters)
    assert (plain.embedding, parameters.shapes) == (0, plain.shapes())
    other = Network(plain, parameters, T, B)
    other.state = network.state
    inputs, targets = backend.to_device(generator.integers(V, size=(2, T, B)))  # (T, B) each
    losses = [float(host(net.measure(inputs, targets))) for net in (network, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_the_weights_without_an_embedding_are_summed_in_a_fixed_order(config, generator, backend, host):
    """An exact model has the same weights on every machine, regardless of the BLAS summation order."""
    network = toy_network(config, T, B, generator, backend)
    _, parameters = without_embedding(config, network.parameters)
    E, Wx = host(network.parameters["embedding.E"]), host(parameters["layer1.Wx"])
    for product, rows in config.cell.input_rows(H):
        W_x = host(network.parameters[f"layer1.{product.name}"])[:, -1 - D : -1]
        # Use `reduce`: since Python 3.12, `sum` compensates for rounding errors.
        wanted = [[reduce(add, map(mul, row, column)) for column in E.T.tolist()] for row in W_x.tolist()]
        np.testing.assert_array_equal(Wx[rows], wanted)


def test_embeddings_are_initialised_on_the_scale_of_hidden_states():
    config = Config(500, rnn_size=20, num_layers=1, embedding=40)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, np.random.default_rng(1))
    largest = {name: abs(view).max() for name, view in parameters.items() if name != "layer1.W"}
    assert largest == {"embedding.E": pytest.approx(1, abs=1e-3), "readout.W": pytest.approx(0.08, abs=1e-4)}


@pytest.fixture
def model(config):
    return CharRNN.new(config, Vocabulary("\n abcde"), 3)


@pytest.mark.parametrize("suffix", ["npz", "pt", "safetensors"])
def test_the_model_in_other_formats_is_equivalent(model, suffix, tmp_path):
    pytest.importorskip({"pt": "torch"}.get(suffix, suffix if suffix != "npz" else "numpy"))
    if suffix != "npz" and model.config.model not in IN_PYTORCH:
        pytest.skip("PyTorch has no equivalent cell")
    model.parameters.flat[...] *= 4.0
    save_model(model, tmp_path / f"model.{suffix}")
    loaded = load_model(tmp_path / f"model.{suffix}")
    assert loaded.config.embedding == (D if suffix == "npz" else 0)
    ids, again = np.random.default_rng(2).integers(V, size=(2, T, B)), []  # (2, T, B)
    for network in (model.network(T, B), loaded.network(T, B)):
        again.append(float(network.measure(ids[0], ids[1])))
    assert again[0] == pytest.approx(again[1], rel=1e-5)


def test_exact_samples_do_not_depend_on_the_batch(model):
    model.parameters.flat[...] *= 4.0
    exact = model.exact()
    assert exact.config.embedding == 0
    several = zip(*generate_many(exact, 5, 50, seed=1), strict=True)
    assert "".join(generate(exact, 50, seed=1)) == "".join(next(several))
