"""Tests for embeddings: separate matrices, and those that share the weights of the readout ("tied")."""

from functools import reduce
from operator import add, mul

import numpy as np
import pytest
from toys import generation

from minichar.engine.config import Config, initialise
from minichar.engine.embedding import without_embedding
from minichar.engine.gradcheck import toy_network
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.generate import generate, generate_many
from minichar.text.vocabulary import Vocabulary

T, B, V, H, D = 4, 2, 7, 3, 5


def separate(cell):
    return Config(V, cell, rnn_size=H, num_layers=2, embedding=D)


def tied(cell):
    return Config(V, cell, rnn_size=H, num_layers=2, embedding=H, tied=True)


@pytest.fixture(params=[separate, tied])
def config(request, cell):
    return request.param(cell)


def test_an_equivalent_network_without_embedding(config, generator, backend, host):
    network = toy_network(config, T, B, generator, backend)
    assert "layer1.Wx" not in network.parameters.shapes
    assert ("embedding.E" in network.parameters.shapes) != config.tied
    plain, parameters = without_embedding(config, network.parameters)
    assert (plain.embedding, plain.tied, parameters.shapes) == (0, False, plain.shapes())
    other = Network(plain, parameters, T, B)
    other.state = network.state
    inputs, targets = backend.to_device(generator.integers(V, size=(2, T, B)))  # (T, B) each
    losses = [float(host(net.measure(inputs, targets))) for net in (network, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_the_weights_without_an_embedding_are_summed_in_a_fixed_order(cell, generator, backend, host):
    """An exact model has the same weights on every machine, regardless of the BLAS summation order."""
    config = separate(cell)
    network = toy_network(config, T, B, generator, backend)
    _, parameters = without_embedding(config, network.parameters)
    E, Wx = host(network.parameters["embedding.E"]), host(parameters["layer1.Wx"])
    for product, rows in config.cell.input_rows(H):
        W_x = host(network.parameters[f"layer1.{product.name}"])[:, -1 - D : -1]
        # Use `reduce`: since Python 3.12, `sum` compensates for rounding errors.
        wanted = [[reduce(add, map(mul, row, column)) for column in E.T.tolist()] for row in W_x.tolist()]
        np.testing.assert_array_equal(Wx[rows], wanted)


@pytest.mark.parametrize("tied", [False, True])
def test_initial_weights(tied):
    """Embeddings are initialised on the scale of hidden states, and tied weights like the readout."""
    config = Config(500, rnn_size=20, num_layers=1, embedding=20 if tied else 40, tied=tied)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, np.random.default_rng(1))
    largest = {name: abs(view).max() for name, view in parameters.items() if name != "layer1.W"}
    wanted = {} if tied else {"embedding.E": pytest.approx(1, abs=1e-3)}
    assert largest == wanted | {"readout.W": pytest.approx(0.08, abs=1e-4)}


@pytest.mark.parametrize("embedding", [0, 4])
def test_a_tied_embedding_must_have_the_size_of_the_hidden_state(embedding):
    with pytest.raises(MinicharError) as error:
        Config(V, rnn_size=H, embedding=embedding, tied=True)
    assert error.value.with_flags == (
        f"--tied requires --embedding to equal --rnn-size (3), not {embedding}: specify --embedding 3"
    )


@pytest.mark.parametrize("config", [separate("lstm"), tied("gru")])
def test_exact_samples_do_not_depend_on_the_batch(config):
    model = CharRNN.new(config, Vocabulary("\n abcde"), 3)
    model.parameters.flat[...] *= 4.0
    exact = model.exact()
    assert exact.config.embedding == 0
    several = zip(*generate_many(exact, 5, generation(20, seed=1)), strict=True)
    assert "".join(generate(exact, generation(20, seed=1))) == "".join(next(several))
