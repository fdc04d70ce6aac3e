"""Gradients with respect to earlier inputs in untrained networks, with a loss at the last step only."""

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.config import Config, initialise
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters

from .draw import GOLD, PINK, PURPLE, drawing, powers

T, B, V, H = 101, 20, 40, 64
MODELS = (("rnn", "RNN", GOLD), ("gru", "GRU", PINK), ("lstm", "LSTM", PURPLE))


def gradient_norms(model: str) -> np.ndarray:
    """Return the norms of the second layer's dx, 0 to T-1 steps before the loss, divided by the norm at 0."""
    generator = np.random.default_rng(3)
    config = Config(V, model, H, num_layers=2)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, generator)
    network = Network(config, parameters, T, B)
    network.forward(generator.integers(V, size=(T, B)))
    dh_above = np.zeros((T, H, B))
    dh_above[-1] = generator.normal(size=(H, B))
    layer, steps = network.layers[1], slice(0, T)
    layer.backward(steps, dh_above)
    layer.gradients(steps, T, ids=None)
    dx = layer.readers[0].dx  # (T, H, B)
    norms = np.linalg.norm(dx, axis=(1, 2))[::-1]  # (T,)
    return norms / norms[0]


@drawing(4.8, 3.2)
def vanishing(ax: Axes) -> None:
    """Plot the gradient norms of all models."""
    for model, name, colour in MODELS:
        ax.semilogy(gradient_norms(model), color=colour, label=name)
    ax.set(xlabel="steps before the loss", ylabel="relative gradient", ylim=(1e-30, 10))
    powers(ax.yaxis)
    ax.legend()
