"""How a trained LSTM remembers a bracket, and how far the gradient flows back through its cell state.

The text consists of random letters with brackets at random intervals. To predict a closing bracket, the
network must remember that a bracket is open. Training takes a few seconds. The biases of the input and forget
gates are initialised with the largest magnitude that Tallec & Ollivier (2018) recommend for dependencies of
up to 100 steps.
"""

import re
from math import log

import numpy as np
from matplotlib.axes import Axes

from minichar.engine.config import Config, initialise
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.pictures.traits import correlations
from minichar.training.optimiser import RMSprop, clip_elements

from .draw import BLUE, GREEN, INK, ORANGE, drawing

ALPHABET = "abcd()"
DISTANCE = 10  # mean number of letters between brackets
H, T, B, STEPS = 4, 50, 50, 300
LEARNING_RATE, CLIP = 0.04, 0.1
BIAS = log(100 - 1)
MARGIN = 4
STRETCH = re.compile(rf"[a-d]{{{MARGIN}}}\([a-d]{{30,34}}\)[a-d]{{{MARGIN}}}")
"""Pattern of the plotted text: 30 to 34 letters in brackets, with `MARGIN` letters on either side."""


@drawing(4.8, 5.2, rows=3)
def bracket(cell: Axes, gates: Axes, gradient: Axes) -> None:
    """Plot the unit that correlates most strongly with being inside brackets."""
    text, remembers, (c, f, i) = measure()
    unit = remembers.argmax()
    start, stop = STRETCH.search(text).span()
    c, f, i = c[start:stop, unit], f[start:stop, unit], i[start:stop, unit]
    opening, closing = MARGIN, stop - start - MARGIN - 1
    # The closing bracket is predicted from the cell state at the preceding step.
    dc = np.cumprod([1.0, *f[closing - 1 : opening : -1]])[::-1]

    places = np.arange(len(c))
    cell.plot(places, c, color=GREEN)
    gates.plot(places, f, color=BLUE, label="forget gate f")
    gates.plot(places, i, color=BLUE, ls="--", label="input gate i")
    gradient.plot(places[opening:closing], dc, color=ORANGE)
    cell.set(ylabel="cell state c")
    gates.set(ylabel="gate", ylim=(0, 1.05))
    gradient.set(ylabel="relative dc", ylim=(0, 1.05))
    gates.legend(fontsize=10, loc="center")
    gradient.set_xticks(places, text[start:stop], fontsize=11)
    for ax in (cell, gates, gradient):
        ax.tick_params(axis="x", length=0)
        ax.axvspan(opening, closing, color=INK, alpha=0.08, lw=0)


def measure() -> tuple[str, np.ndarray, tuple[np.ndarray, ...]]:
    """Train the network, and return new text, how well each unit remembers a bracket, and its c, f and i.

    The memory of a unit, (H,), is the absolute correlation of its c with being inside brackets.
    """
    generator = np.random.default_rng(1)
    parameters = train(generator)
    text = random_text(generator, 4000)
    network = Network(Config(len(ALPHABET), "lstm", H, num_layers=1), parameters, len(text), 1)
    network.forward(encode(text)[:, None])
    values = [network.layers[0].values(t) for t in range(len(text))]
    c, f, i = (np.array([value[name][:, 0] for value in values]) for name in "cfi")  # each (N, H)
    inside = np.cumsum([(character == "(") - (character == ")") for character in text])
    return text, abs(correlations(c.T, inside[None]))[:, 0], (c, f, i)


def random_text(generator: np.random.Generator, length: int) -> str:
    """Return random letters separated by alternating opening and closing brackets."""
    text = ""
    while len(text) < length:
        for bracket in "()":
            text += "".join(generator.choice(list("abcd"), generator.geometric(1 / DISTANCE))) + bracket
    return text[:length]


def encode(text: str) -> np.ndarray:
    """Return the ids of the characters."""
    return np.array([ALPHABET.index(character) for character in text])


def train(generator: np.random.Generator) -> Parameters:
    """Train an LSTM layer and return its parameters."""
    ids = encode(random_text(generator, B * (T * STEPS + 1))).reshape(B, -1).T  # (T·STEPS + 1, B)
    config = Config(len(ALPHABET), "lstm", H, num_layers=1)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, generator)
    parameters["layer1.W"][:H, -1] = -BIAS
    parameters["layer1.W"][H : 2 * H, -1] = BIAS
    network, optimiser = Network(config, parameters, T, B), RMSprop(parameters, 0.95)
    for step in range(STEPS):
        chunk = ids[step * T : step * T + T + 1]
        network.loss_and_gradient(chunk[:-1], chunk[1:])
        clip_elements(np, network.gradient.flat, CLIP)
        optimiser.step(network.gradient.flat, LEARNING_RATE * (1 - step / STEPS))
        network.carry()
    return parameters
