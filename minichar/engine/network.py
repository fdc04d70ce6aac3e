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
from itertools import pairwise

from minichar.devices.backend import Array
from minichar.devices.random import Uniform
from minichar.engine.config import Config
from minichar.engine.dropout import Dropout
from minichar.engine.parameters import Parameters
from minichar.engine.readout import ReadOut

Feed = Callable[[int, Callable[[], Array]], Array]
"""``feed(t, look)`` returns the ids ``(B,)`` of step t; ``look()`` the logits ``(V, B)`` of step t-1.

At t = 0 there are none before, and what they hold means nothing.
"""


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
    loss : SoftmaxCrossEntropy
    fed : array of int, (T, B)
        The characters that the last forward pass was fed.
    n : int
        How many steps the last forward pass has gone.
    """

    def __init__(self, config: Config, parameters: Parameters, T: int, B: int) -> None:
        backend, dtype, H = parameters.backend, parameters.dtype, config.rnn_size
        self.config, self.parameters, self.T, self.B, self.xp = config, parameters, T, B, backend.xp
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
        self.readout = ReadOut(parameters["readout.W"], self.gradient["readout.W"], T, B, backend)
        self.loss = self.readout.loss
        self.fed = backend.zeros((T, B), "int64")  # (T, B)
        self.n = 0

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

    def draw_masks(self, generator: Uniform) -> None:
        """Draw dropout masks for the next chunk. A network that never draws them drops nothing."""
        for dropout in self.dropouts:
            dropout.draw(generator)

    def advance(self, t: int, ids: Array) -> None:
        """Feed the characters `ids` ``(B,)`` to the layers at step `t`."""
        self.fed[t] = ids
        self.n = t + 1
        bottom = self.layers[0]
        bottom.step(t, self.fed[t])
        for dropout, (below, layer) in zip(self.dropouts, pairwise(self.layers), strict=False):
            dropout.step(t, below.h[t + 1], out=layer.x[t])
            layer.step(t, None)
        self.dropouts[-1].step(t, self.layers[-1].h[t + 1], out=self.readout.x[t])

    def look(self) -> Array:
        """Return the logits of the last step, ``(V, B)``; the next ones are written over them."""
        return self.readout.step(self.n - 1)

    def step(self, t: int, ids: Array) -> Array:
        """Feed the characters `ids` ``(B,)`` at step `t`; return the logits ``(V, B)``."""
        self.advance(t, ids)
        return self.look()

    def run(self, feed: Feed, n: int | None = None) -> None:
        """Run the layers for `n` steps (T by default) from the carried state."""
        for t in range(self.T if n is None else n):
            self.advance(t, feed(t, self.look))

    def forward(self, feed: Feed, n: int | None = None) -> Array:
        """Run `n` steps (T by default) from the carried state; return all logits, ``(n, V, B)``."""
        self.run(feed, n)
        return self.logits()

    def logits(self) -> Array:
        """Return all logits of the last run, ``(n, V, B)``."""
        columns = self.readout.forward(0, self.n)  # (V, n·B)
        return columns.reshape(-1, self.n, self.B).transpose(1, 0, 2)

    def measure(self, feed: Feed, targets: Array) -> Array:
        """Run as many steps as `targets` ``(n, B)`` has; return their mean loss, a scalar array."""
        self.run(feed, len(targets))
        return self.readout.measure(targets)

    def learn(self, feed: Feed, targets: Array) -> Array:
        """Do as `measure`, and fill `gradient` with that of the loss."""
        self.run(feed, len(targets))
        loss = self.readout.learn(targets)
        self.backward()
        return loss

    def backward(self) -> None:
        """Fill the layers' gradients from that of what the read-out reads, over the steps of the last run."""
        dx = self.readout.dx[: self.n]  # (n, H, B)
        for layer, dropout in zip(reversed(self.layers), reversed(self.dropouts), strict=True):
            is_first = layer is self.layers[0]
            layer.backward(dropout.backward(dx), self.fed[: self.n] if is_first else None)
            if not is_first:
                dx = layer.input_gradient(self.n)

    def carry(self) -> None:
        """Make the state after the last forward pass, or step, the one the next chunk starts from."""
        for layer in self.layers:
            layer.carry(self.n)


def layer_views(parameters: Parameters, prefix: str) -> dict[str, Array]:
    """Return the views whose names start with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): view for name, view in parameters.items() if name.startswith(prefix)}


def teacher_forcing(inputs: Array) -> Feed:
    """Feed the true characters `inputs` ``(T, B)``, whatever the model predicts."""
    return lambda t, look: inputs[t]
