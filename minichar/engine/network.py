"""The network: stacked recurrent layers and a readout that computes the logits.

    x_1 = onehot(character), or its embedding
    h_l = cell_l(x_l)                 l = 1 … L
    x_{l+1} = dropout(h_l)
    logits = W @ [dropout(h_L); 1]

Teacher forcing, scheduled sampling and generation share the same code. They differ only in their `Feed`, the
source of the next character: all layers run on the characters that are known before the next is requested.
"""

from functools import partial
from itertools import pairwise

import numpy as np

from minichar.devices.backend import Array, Column
from minichar.devices.random import Uniform
from minichar.engine import dropout
from minichar.engine.config import Config
from minichar.engine.embedding import Embedding
from minichar.engine.feed import Feed
from minichar.engine.kernel_layer import new_layer
from minichar.engine.layer import Layer
from minichar.engine.parameters import Parameters
from minichar.engine.readout import ReadOut
from minichar.engine.tied_embedding import TiedEmbedding


class Network:
    """Layers, readout and loss, with buffers for T steps of B sequences.

    Parameters
    ----------
    config : Config
    parameters : Parameters
        Must have the shapes returned by ``config.shapes()``. Several networks can share parameters.
    T, B : int

    Attributes
    ----------
    gradient : Parameters
        Gradient of the loss, filled by `learn`.
    fed : array of int, (T, B)
        Input characters of the last chunk.
    masks : list of L arrays, (T, H, B), or None
        Dropout masks; None if dropout is inactive.
    recurrent : list of Linear
        The linear layers whose input includes the hidden state. Only their weights use DropConnect.
    keep : array, (T, B), or None
        0 to reset the states before a step, otherwise 1 (`set_keep`); None if resets are disabled.
    n : int
        Number of steps in the last forward pass.
    """

    def __init__(self, config: Config, parameters: Parameters, T: int, B: int) -> None:
        backend = parameters.backend
        self.config, self.parameters, self.T, self.B, self.xp = config, parameters, T, B, backend.xp
        self.gradient = parameters.twin()
        kind, name = (TiedEmbedding, "readout.W") if config.tied else (Embedding, "embedding.E")
        self.embedding = kind(parameters[name], self.gradient[name], backend) if config.embedding else None

        def layer(prefix: str) -> Layer:
            weights, gradients = parameters.under(prefix), self.gradient.under(prefix)
            return new_layer(config, weights, gradients, T, B, backend)

        self.layers = [layer(f"layer{number}.") for number in range(1, config.num_layers + 1)]
        self.masks: list[Array | None] = [None] * config.num_layers
        self.recurrent = [linear for layer in self.layers for linear in layer.linears if linear.reads_h]
        self.keep: Array | None = None
        self.readout = ReadOut(parameters["readout.W"], self.gradient["readout.W"], T, B, backend)
        for below, above in pairwise(self.layers):
            below.pass_on([linear.x for linear in above.readers])
        self.layers[-1].pass_on([self.readout.x])
        self.n = 0
        self.fed: Array = None

    @property
    def state(self) -> Array:
        """A copy of the state at the start of the next chunk, with shape ``config.state_shape(B)``."""
        return self.xp.stack([layer.start for layer in self.layers])

    @state.setter
    def state(self, values: Array) -> None:
        for layer, start in zip(self.layers, values, strict=True):
            layer.start[...] = start

    def reset(self) -> None:
        """Set the state to zero, as at the start of a sequence."""
        for layer in self.layers:
            layer.start[...] = 0.0

    def set_keep(self, keep: np.ndarray | None = None) -> None:
        """Specify where the states are reset in subsequent chunks, or disable resets.

        Parameters
        ----------
        keep : array of bool, (n, B), on the host, optional
            False to reset the states of all layers to zero before a step; n ≤ T.
        """
        if keep is None:
            self.keep = None
            return
        backend, dtype = self.parameters.backend, self.parameters.dtype
        if self.keep is None:  # allocated only once, because a CUDA graph uses a fixed address
            self.keep = backend.zeros((self.T, self.B), dtype)  # (T, B)
        self.keep[: len(keep)] = backend.to_device(keep.astype(dtype))

    def draw_masks(self, generator: Uniform) -> None:
        """Draw masks for the next chunk. Dropout and DropConnect are inactive until masks are drawn."""
        config, backend, shape = self.config, self.parameters.backend, (self.T, self.config.rnn_size, self.B)
        for k, mask in enumerate(self.masks if config.dropout else ()):
            if mask is None:  # allocated only once, because a CUDA graph uses fixed addresses
                mask = self.masks[k] = backend.zeros(shape, self.parameters.dtype)  # (T, H, B)
            dropout.draw_mask(config.dropout, generator, mask)
        for linear in self.recurrent if config.weight_drop else ():
            linear.draw_mask(config.weight_drop, generator.shared)

    def advance(self, t: int, ids: Array) -> None:
        """Run m steps of all layers, from step `t`, on the characters `ids` ``(m, B)``."""
        self.n = t + len(ids)
        steps = slice(t, self.n)
        self.layers[0].read(steps, ids if self.embedding is None else self.embedding.forward(ids))
        columns: list[Column] = []
        for layer, mask in zip(self.layers, self.masks, strict=True):
            columns += [layer.multiply_inputs, partial(layer.forward, keep=self.keep)]
            if mask is not None:
                columns.append(partial(dropout.on_steps, dropout.forward, mask, layer.above))
        self.parameters.backend.wavefront(columns, steps)

    def look(self) -> Array:
        """Return the logits of the last step, ``(V, B)``."""
        return self.readout.logits(self.n - 1, self.n)

    def step(self, t: int, ids: Array) -> Array:
        """Feed the characters `ids` ``(B,)`` at step `t`; return the logits ``(V, B)``."""
        self.advance(t, ids[None])
        return self.look()

    @np.errstate(over="ignore")  # if e⁻ᵃ overflows, σ(a) = 1 / (1 + e⁻ᵃ) evaluates to 0, which is correct
    def run(self, feed: Feed, n: int | None = None) -> None:
        """Run the layers for `n` steps (default: T) from the carried state."""
        for linear in self.recurrent:
            linear.apply_mask()
        n = self.T if n is None else n
        self.fed, self.n = feed.ids, 0
        while self.n < n:
            ids = feed(self.n, self.look)[: n - self.n]  # (m, B)
            if not len(ids):
                raise ValueError(f"the feed has no characters for step {self.n} of {n}")
            self.advance(self.n, ids)

    def forward(self, feed: Feed, n: int | None = None) -> Array:
        """Run `n` steps (default: T) from the carried state; return all logits, ``(n, V, B)``."""
        self.run(feed, n)
        return self.logits()

    def logits(self) -> Array:
        """Return all logits of the last forward pass, ``(n, V, B)``."""
        columns = self.readout.logits(0, self.n)  # (V, n·B)
        return columns.reshape(-1, self.n, self.B).transpose(1, 0, 2)

    def measure(self, feed: Feed, targets: Array) -> Array:
        """Run the network on a chunk and return its mean loss for `targets` ``(n, B)`` as a scalar array."""
        self.keep_caches(False)
        self.run(feed, len(targets))
        self.keep_caches(True)
        return self.readout.measure(targets)

    def keep_caches(self, keep: bool) -> None:
        """Set whether to keep each step's cache, which only the backward pass needs."""
        for layer in self.layers:
            layer.keep_caches(keep)

    def learn(self, feed: Feed, targets: Array) -> Array:
        """Run the network on a chunk, return its mean loss, and fill `gradient` with the loss gradient."""
        self.run(feed, len(targets))
        loss = self.readout.learn(targets)
        self.backward()
        return loss

    def backward(self) -> None:
        """Backpropagate from the readout through all layers and time steps of the last forward pass."""
        n, ids, columns = self.n, self.fed[: self.n], list[Column]()
        dx: Array = self.readout.dx  # (T, H, B)
        for layer, mask in zip(reversed(self.layers), reversed(self.masks), strict=True):
            if mask is not None:
                columns.append(partial(dropout.on_steps, dropout.backward, mask, [dx]))
            columns.append(partial(layer.backward, dh_above=dx[:n], keep=self.keep))
            columns.append(partial(layer.gradients, n=n, ids=ids))
            dx = layer.readers[0].dx if layer.readers else None  # (T, D, B)
        self.parameters.backend.wavefront(columns, slice(0, n), backwards=True)
        if self.embedding is not None:
            self.embedding.backward(dx[:n], ids)

    def carry(self) -> None:
        """Start the next chunk from the state after the last step."""
        for layer in self.layers:
            layer.carry(self.n)
