"""Tests that `Layer.carry` supports cells that return one of their arguments as a new state."""

import numpy as np
import pytest

from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.config import Config
from minichar.engine.gradcheck import toy_network
from minichar.engine.network import Network
from minichar.engine.registry import CELLS, register


def forward(xp, a, c_prev, m_prev):
    h = xp.tanh(a[0] + 0.5 * m_prev)
    return h, h, c_prev, (h,)  # m is c, delayed by one step


@pytest.fixture
def delay():
    yield register(
        Cell("delay", "delay line", "hcm", (Stage((Product("W", "h"),), forward, lambda: None, "h"),))
    )
    del CELLS["delay"]


def test_single_steps_equal_one_chunk(delay, generator):
    T = 6
    network = toy_network(Config(5, "delay", 3, 2), T, 2, generator)
    ids = generator.integers(5, size=(T, 2))
    single = Network(network.config, network.parameters, 1, 2)
    single.state = network.state
    whole = network.forward(ids)
    for t in range(T):
        np.testing.assert_allclose(single.step(0, ids[t]), whole[t], rtol=1e-13)
        single.carry()
