import numpy as np
import pytest
from naive import STEPS, read_chunk

from minichar.engine.config import Config
from minichar.engine.gradcheck import toy_network

T, B, V, H = 5, 2, 8, 3


@pytest.mark.parametrize(("L", "dropout", "layer_norm"), [(1, 0.4, False), (2, 0.0, True), (3, 0.4, False)])
@pytest.mark.parametrize("cell", STEPS)
def test_the_engine_agrees_with_the_naive_reference(cell, L, dropout, layer_norm, generator):
    config = Config(V, cell, rnn_size=H, num_layers=L, dropout=dropout, layer_norm=layer_norm)
    network = toy_network(config, T, B, generator)
    masks = network.masks if dropout else None
    state = network.state
    for _ in range(2):  # two chunks, so the state is carried over
        inputs, targets = generator.integers(V, size=(2, T, B))  # each (T, B)
        loss, state = read_chunk(config, network.parameters, inputs, targets, state, masks)
        assert float(network.measure(inputs, targets)) == pytest.approx(loss, rel=1e-12)
        network.carry()
        np.testing.assert_allclose(network.state, state, rtol=0, atol=1e-12)
