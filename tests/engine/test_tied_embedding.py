from dataclasses import replace

import numpy as np
import pytest
from cells import IN_PYTORCH

from minichar.engine.config import Config, initialise
from minichar.engine.embedding import without_embedding
from minichar.engine.gradcheck import CENTRAL_LIMIT, COMPLEX_LIMIT, check_network, toy_network
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.engine.tied_embedding import TiedEmbedding
from minichar.errors import MinicharError
from minichar.formats.convert import load_model, save_model
from minichar.model import CharRNN
from minichar.text.vocabulary import Vocabulary

T, B, V, H = 4, 2, 7, 3


@pytest.fixture
def config(cell):
    return Config(V, cell, rnn_size=H, num_layers=2, embedding=H, tied=True)


def test_each_character_is_its_row_and_its_gradient_is_added(backend, host):
    W = backend.to_device(np.arange(16.0).reshape(4, 4))  # (V, H+1)
    dW = backend.zeros((4, 4), "float64") + 100.0
    embedding = TiedEmbedding(W, dW, backend)
    ids = backend.to_device(np.array([[2, 0], [2, 3]]))  # (n, B)
    x = [[[8, 0], [9, 1], [10, 2]], [[8, 12], [9, 13], [10, 14]]]
    np.testing.assert_array_equal(host(embedding.forward(ids)), x)
    dx = np.arange(12.0).reshape(2, 3, 2)  # (n, H, B)
    embedding.backward(backend.to_device(dx), ids)
    added = [[1, 3, 5, 0], [0, 0, 0, 0], [6, 10, 14, 0], [7, 9, 11, 0]]
    np.testing.assert_array_equal(host(dW), np.add(added, 100))


@pytest.mark.parametrize("layer_norm", [False, True])
def test_the_gradients_are_those_of_both_uses(config, generator, layer_norm):
    config = replace(config, layer_norm=layer_norm, dropout=0.4, weight_drop=0.4)
    network = toy_network(config, T, B, generator)
    assert "embedding.E" not in network.parameters.shapes
    inputs, targets = generator.integers(V, size=(2, T, B))  # (T, B) each
    for row in check_network(network, inputs, targets):
        assert row.complex_error <= COMPLEX_LIMIT, row
        assert row.central_error <= CENTRAL_LIMIT, row


def test_the_loss_and_gradient_are_those_of_two_equal_matrices(config, generator, backend, host):
    tied = toy_network(config, T, B, generator, backend)
    untied = Network(replace(config, tied=False), _untied(tied.parameters, backend), T, B)
    untied.state = tied.state
    inputs, targets = backend.to_device(generator.integers(V, size=(2, T, B)))  # (T, B) each
    losses = [float(host(net.learn(inputs, targets))) for net in (tied, untied)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    wanted = host(untied.gradient["readout.W"]).copy()
    wanted[:, :-1] += host(untied.gradient["embedding.E"]).T
    np.testing.assert_allclose(host(tied.gradient["readout.W"]), wanted, atol=1e-14)


def _untied(parameters, backend):
    E = parameters["readout.W"][:, :-1].T
    shapes = {"embedding.E": E.shape, **parameters.shapes}
    untied = Parameters(shapes, parameters.dtype, backend)
    untied["embedding.E"][...] = E
    for name, view in parameters.items():
        untied[name][...] = view
    return untied


def test_an_equivalent_network_without_embedding(config, generator, backend, host):
    network = toy_network(config, T, B, generator, backend)
    plain, parameters = without_embedding(config, network.parameters)
    assert (plain.embedding, plain.tied, parameters.shapes) == (0, False, plain.shapes())
    other = Network(plain, parameters, T, B)
    other.state = network.state
    inputs, targets = backend.to_device(generator.integers(V, size=(2, T, B)))  # (T, B) each
    losses = [float(host(net.measure(inputs, targets))) for net in (network, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.parametrize("embedding", [0, 4])
def test_the_embedding_must_have_the_size_of_the_hidden_state(embedding):
    with pytest.raises(MinicharError) as error:
        Config(V, rnn_size=H, embedding=embedding, tied=True)
    assert error.value.with_flags == (
        f"--tied requires --embedding to equal --rnn-size (3), not {embedding}: specify --embedding 3"
    )


def test_tied_weights_are_initialised_like_the_readout():
    config = Config(500, rnn_size=20, num_layers=1, embedding=20, tied=True)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, np.random.default_rng(1))
    assert list(parameters.shapes) == ["layer1.W", "readout.W"]
    assert abs(parameters["readout.W"]).max() == pytest.approx(0.08, abs=1e-4)


@pytest.mark.parametrize("suffix", ["npz", "pt"])
def test_the_model_in_other_formats_is_equivalent(config, suffix, tmp_path):
    if suffix == "pt":
        pytest.importorskip("torch")
        if config.model not in IN_PYTORCH:
            pytest.skip("PyTorch has no equivalent cell")
    model = CharRNN.new(config, Vocabulary("\n abcde"), 3)
    model.parameters.flat[...] *= 4.0
    save_model(model, tmp_path / f"model.{suffix}")
    loaded = load_model(tmp_path / f"model.{suffix}")
    assert loaded.config.tied == (suffix == "npz")
    ids, losses = np.random.default_rng(2).integers(V, size=(2, T, B)), []  # (2, T, B)
    for network in (model.network(T, B), loaded.network(T, B)):
        losses.append(float(network.measure(ids[0], ids[1])))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
