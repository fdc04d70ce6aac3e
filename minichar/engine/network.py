"""The network: layers of one cell, one on the other, and a read-out to logits.

    x_1 = onehot(character)
    h_l = cell_l(x_l)                 l = 1 … L
    x_{l+1} = dropout(h_l)
    logits = W @ [dropout(h_L); 1]

All layers go through step t, then through t+1. Teacher forcing, scheduled sampling
and generation are then the same code; they differ in where the next character comes
from, which is a `Feed`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from minichar.backend import Array
from minichar.engine.dropout import Dropout
from minichar.engine.gru import GRUResetAfter, GRUResetBefore
from minichar.engine.linear import Linear
from minichar.engine.loss import SoftmaxCrossEntropy
from minichar.engine.lstm import LSTM
from minichar.engine.parameters import Parameters, Shapes
from minichar.engine.recurrent import Recurrent
from minichar.engine.rnn import RNN
from minichar.errors import MinicharError

MODELS = ("rnn", "lstm", "gru")
GRU_RESETS = ("after", "before")
MAX_SIZE = 1 << 20

Feed = Callable[[int, Array], Array]
"""``feed(t, logits)`` returns the ids ``(B,)`` of step t, given the logits ``(V, B)`` of step t-1."""


@dataclass(frozen=True)
class Config:
    """What a network is made of.

    Attributes
    ----------
    vocab_size : int
        V.
    model : str
        ``rnn``, ``lstm`` or ``gru``.
    rnn_size : int
        H, the hidden units of each layer.
    num_layers : int
        L.
    dropout : float
        Drop probability while training, in [0, 1).
    gru_reset : str
        ``after`` or ``before``: where a GRU's reset gate acts (`minichar.engine.gru`).

    Raises
    ------
    MinicharError
        If a value is out of its range.
    """

    vocab_size: int
    model: str = "lstm"
    rnn_size: int = 128
    num_layers: int = 2
    dropout: float = 0.0
    gru_reset: str = "after"

    def __post_init__(self) -> None:
        for name, choices in (("model", MODELS), ("gru_reset", GRU_RESETS)):
            if getattr(self, name) not in choices:
                raise MinicharError(
                    f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}"
                )
        for name in ("vocab_size", "rnn_size", "num_layers"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= MAX_SIZE:
                raise MinicharError(f"{name} is {value!r}; it must be a whole number from 1 to {MAX_SIZE}")
        if type(self.dropout) not in (int, float) or not 0 <= self.dropout < 1:
            raise MinicharError(f"dropout is {self.dropout!r}; it must be at least 0 and below 1")

    @property
    def cell(self) -> type[Recurrent]:
        """The class of every recurrent layer."""
        if self.model == "gru":
            return GRUResetAfter if self.gru_reset == "after" else GRUResetBefore
        return {"rnn": RNN, "lstm": LSTM}[self.model]

    def shapes(self) -> Shapes:
        """Name and shape of every parameter: ``layer1.W``, ``layer1.Wx``, …, ``readout.W``."""
        H, V = self.rnn_size, self.vocab_size
        shapes: Shapes = {}
        for layer in range(1, self.num_layers + 1):
            cell_shapes = self.cell.shapes(H, 0 if layer == 1 else H, V)
            shapes |= {f"layer{layer}.{name}": shape for name, shape in cell_shapes.items()}
        return shapes | {"readout.W": (V, H + 1)}

    def state_shape(self, B: int) -> tuple[int, int, int, int]:
        """Shape of the carried state: layers, states a layer, H, B."""
        return self.num_layers, self.cell.n_states, self.rnn_size, B


def initialise(config: Config, parameters: Parameters, generator: np.random.Generator) -> None:
    """Draw initial weights uniform in ±0.08; an LSTM's forget bias starts at 1.

    Both are char-rnn's; a forget gate that starts open lets the gradient through
    time from the first step (Jozefowicz et al. 2015).
    """
    values = generator.uniform(-0.08, 0.08, parameters.size)  # (size,)
    parameters.flat[...] = parameters.backend.to_device(values)
    if config.model == "lstm":
        H = config.rnn_size
        for layer in range(1, config.num_layers + 1):
            parameters[f"layer{layer}.W"][H : 2 * H, -1] = 1.0


class Network:
    """Layers, read-out and loss with their workspaces for T steps of B sequences.

    Parameters
    ----------
    config : Config
    parameters : Parameters
        With the shapes of ``config.shapes()``. Several networks may share them.
    T, B : int

    Attributes
    ----------
    gradient : Parameters
        Where `backward` leaves the gradient of the loss.
    logits : array, (T, V, B)
    fed : array of int, (T, B)
        The characters that the last forward pass was fed.
    """

    def __init__(self, config: Config, parameters: Parameters, T: int, B: int) -> None:
        backend, dtype, H = parameters.backend, parameters.dtype, config.rnn_size
        self.config, self.T, self.B, self.xp = config, T, B, backend.xp
        self.gradient = parameters.twin()
        self.layers = [
            config.cell(
                layer_views(parameters, f"layer{layer}."),
                layer_views(self.gradient, f"layer{layer}."),
                H,
                T,
                B,
                backend,
            )
            for layer in range(1, config.num_layers + 1)
        ]
        self.dropouts = [Dropout(config.dropout, H, T, B, dtype, backend) for _ in self.layers]
        self.readout = Linear(parameters["readout.W"], self.gradient["readout.W"], T, B, backend)
        self.loss = SoftmaxCrossEntropy(config.vocab_size, T, B, dtype, backend)
        self.logits = self.readout.a  # (T, V, B)
        self.fed = self.xp.zeros((T, B), dtype=np.intp)  # (T, B)

    @property
    def state(self) -> Array:
        """The state the next chunk starts from, a copy, ``config.state_shape(B)``."""
        return self.xp.stack([self.xp.stack([state[0] for state in layer.states]) for layer in self.layers])

    @state.setter
    def state(self, values: Array) -> None:
        for layer, layer_values in zip(self.layers, values, strict=True):
            for state, value in zip(layer.states, layer_values, strict=True):
                state[0] = value

    def reset(self) -> None:
        """Set the state to zero: what follows is a beginning."""
        for layer in self.layers:
            for state in layer.states:
                state[0] = 0.0

    def draw_masks(self, generator: np.random.Generator) -> None:
        """Draw dropout masks for the next chunk. A network that never draws them drops nothing."""
        for dropout in self.dropouts:
            dropout.draw(generator)

    def step(self, t: int, ids: Array) -> Array:
        """Feed the characters `ids` ``(B,)`` at step `t`; return the logits ``(V, B)``."""
        self.fed[t] = ids
        bottom = self.layers[0]
        bottom.step(t, self.fed[t])
        for dropout, (below, layer) in zip(self.dropouts, pairwise(self.layers), strict=False):
            dropout.step(t, below.h[t + 1], out=layer.x[t])
            layer.step(t, None)
        self.dropouts[-1].step(t, self.layers[-1].h[t + 1], out=self.readout.x[t])
        return self.readout.step(t)

    def forward(self, feed: Feed, n: int | None = None) -> Array:
        """Run `n` steps (T by default) from the carried state; return the logits ``(n, V, B)``."""
        n = self.T if n is None else n
        for t in range(n):
            self.step(t, feed(t, self.logits[t - 1]))
        return self.logits[:n]

    def backward(self, dlogits: Array) -> None:
        """Fill `gradient`, from the gradient of the logits of the last forward pass, ``(n, V, B)``."""
        n = len(dlogits)
        self.readout.da[:n] = dlogits
        for t in range(n):
            self.readout.step_backward(t)
        self.readout.weight_gradient(n)

        dx = self.readout.dx[:n]  # (n, H, B)
        for layer, dropout in zip(reversed(self.layers), reversed(self.dropouts), strict=True):
            ids = self.fed[:n] if layer is self.layers[0] else None
            dx = layer.backward(dropout.backward(dx), ids)

    def carry(self, n: int | None = None) -> None:
        """Make the state after `n` steps (T by default) the one the next chunk starts from."""
        for layer in self.layers:
            layer.carry(self.T if n is None else n)


def layer_views(parameters: Parameters, prefix: str) -> dict[str, Array]:
    """Return the views whose names start with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): view for name, view in parameters.items() if name.startswith(prefix)}


def teacher_forcing(inputs: Array) -> Feed:
    """Feed the true characters `inputs` ``(T, B)``, whatever the model predicts."""
    return lambda t, logits: inputs[t]
