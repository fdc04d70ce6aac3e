"""How much of a gradient is left after so many steps back through time, in each of the cells.

Fresh networks as `minichar train` begins with, and the gradient of one loss at the last of
100 steps, measured at the states before it.
"""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.config import Config, initialise
from minichar.engine.network import Network, teacher_forcing
from minichar.engine.parameters import Parameters

from .draw import BLUE, GREEN, ORANGE, figure, powers

T, B, V, H = 100, 20, 40, 64
CELLS = (("rnn", "RNN", ORANGE), ("gru", "GRU", GREEN), ("lstm", "LSTM", BLUE))


def gradient_norms(model: str) -> np.ndarray:
    """Return the length of the gradient of all states before each of the last k = 0 … T-1 steps."""
    generator = np.random.default_rng(3)
    config = Config(V, model, H, 1)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, generator)
    network = Network(config, parameters, T, B)
    inputs = generator.integers(V, size=(T, B))
    network.forward(teacher_forcing(inputs))
    (layer,) = network.layers
    dstates = tuple(np.zeros((H, B)) for _ in layer.states)
    dstates[0][...] = generator.normal(size=(H, B))
    norms = [1.0]
    start = np.linalg.norm(dstates[0])
    for t in reversed(range(T)):
        dstates = tuple(d.copy() for d in layer.step_backward(t, *dstates))
        norms.append(float(np.sqrt(sum((d**2).sum() for d in dstates)) / start))
    return np.array(norms)


def main() -> None:
    """Measure and draw."""

    def draw(ax: Axes) -> None:
        for model, name, colour in CELLS:
            ax.semilogy(gradient_norms(model), color=colour, label=name)
        ax.set(xlabel="steps back", ylabel="gradient left", ylim=(1e-30, 10))
        powers(ax.yaxis)
        ax.legend()

    figure(draw, 5.4, 3.4, "vanishing")
