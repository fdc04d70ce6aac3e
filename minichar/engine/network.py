"""The network: stacked recurrent layers and a readout that computes the logits.

    x_1 = onehot(character), or its embedding
    h_l = cell_l(x_l)                 l = 1 … L
    x_{l+1} = dropout(h_l)
    logits = W @ [dropout(h_L); 1]

Teacher forcing, scheduled sampling and generation share the same code. They differ only in their *feed*, the
source of the next character: an array of ids, or a function that chooses characters. The function,
``feed(t, look)``, returns the ids of step t, ``(B,)``. They can depend on ``look()``, the logits ``(V, B)``
of step t-1, which are undefined at t = 0. The array ``feed.ids`` ``(T, B)`` then contains the ids for the
backward pass.
"""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from minichar.devices.backend import Array
from minichar.devices.random import Uniform
from minichar.engine import dropout
from minichar.engine.config import Config
from minichar.engine.embedding import Embedding
from minichar.engine.layer import Layer
from minichar.engine.parameters import Parameters
from minichar.engine.readout import ReadOut
from minichar.engine.staged_layer import StagedLayer
from minichar.engine.tied_embedding import TiedEmbedding

Feed = Any
"""An array of ids ``(T, B)``, or a function that chooses them (see above)."""


class Network:
    """Layers, readout and loss, with buffers for T steps of B sequences.

    Parameters
    ----------
    config : Config
    parameters : Parameters
        Must have the shapes returned by ``config.shapes()``. Multiple networks can share parameters.
    T, B : int

    Attributes
    ----------
    gradient : Parameters
        Gradient of the loss, filled by `loss_and_gradient`.
    fed : array of int, (T, B)
        Input characters of the last chunk.
    masks : list of L arrays, (T, H, B), or None
        Dropout masks; None if dropout is inactive.
    recurrent : list of Linear
        The linear layers whose input includes the hidden state.
    dropped : list of Linear
        Those whose weights use DropConnect: `recurrent`, or none.
    wavefront : object or None
        Runs the layers instead of this class, on a device that runs them concurrently.
    n : int
        Number of steps in the last forward pass.
    """

    def __init__(self, config: Config, parameters: Parameters, T: int, B: int) -> None:
        backend = parameters.backend
        self.config, self.parameters, self.T, self.B, self.xp = config, parameters, T, B, backend.xp
        self.gradient = parameters.twin()
        kind, name = (TiedEmbedding, "readout.W") if config.tied else (Embedding, "embedding.E")
        self.embedding = kind(parameters[name], self.gradient[name], backend) if config.embedding else None

        cell, H = config.cell, config.rnn_size
        kind_of_layer = Layer if len(cell.stages) == 1 else StagedLayer

        def layer(prefix: str) -> Layer:
            weights, gradients = parameters.under(prefix), self.gradient.under(prefix)
            return kind_of_layer(cell, weights, gradients, H, T, B, backend, config.layer_norm)

        self.layers = [layer(f"layer{number}.") for number in range(1, config.num_layers + 1)]
        self.masks: list[Array | None] = [None] * config.num_layers
        self.recurrent = [linear for layer in self.layers for linear in layer.linears if linear.reads_h]
        self.dropped = self.recurrent if config.weight_drop else []
        self.readout = ReadOut(parameters["readout.W"], self.gradient["readout.W"], T, B, backend)
        for below, above in pairwise(self.layers):
            below.pass_on([linear.x for linear in above.readers])
        self.layers[-1].pass_on([self.readout.x])
        self.wavefront = backend.wavefront(self.layers, T) if T > 1 else None
        self.n = 0
        self.fed: Array = None

    @property
    def state(self) -> Array:
        """A copy of the state at the start of the next chunk, with shape ``config.state_shape(B)``."""
        return self.state_of(slice(None))

    @state.setter
    def state(self, values: Array) -> None:
        self.set_state_of(slice(None), values)

    def state_of(self, b: int | slice) -> Array:
        """Return a copy of the state of sequence `b`, ``(L, S, H)``, or of several, ``(L, S, H, n)``."""
        return self.xp.stack([layer.start[:, :, b] for layer in self.layers])

    def set_state_of(self, b: int | slice, values: Array) -> None:
        """Set the state of sequence `b`, or of several, at the start of the next chunk."""
        for layer, start in zip(self.layers, values, strict=True):
            layer.start[:, :, b] = start

    def reset(self, b: int | slice = slice(None)) -> None:
        """Set the state of sequence `b`, or of all sequences, to zero, as at the start of a text."""
        for layer in self.layers:
            layer.start[:, :, b] = 0.0

    @property
    def uses_kernel(self) -> bool:
        """Whether a kernel of the device runs all steps of at least one layer (docs/chunk-kernel.md)."""
        return self.wavefront is not None and self.wavefront.uses_kernel

    @property
    def state_mask(self) -> Array | None:
        """``(T, B)``: 0 to reset the states before a step, otherwise 1; None if resets are disabled."""
        return self.layers[0].state_mask

    @state_mask.setter
    def state_mask(self, state_mask: Array | None) -> None:
        for layer in self.layers:
            layer.set_state_mask(state_mask)

    def set_state_mask(self, state_mask: np.ndarray | None = None) -> None:
        """Specify where the states are reset in subsequent chunks, or disable resets.

        Parameters
        ----------
        state_mask : array of bool, (n, B), on the host, optional
            False to reset the states of all layers to zero before a step; n ≤ T.
        """
        backend, dtype = self.parameters.backend, self.parameters.dtype
        if state_mask is None:
            self.state_mask = None
            return
        if self.state_mask is None:  # allocated only once, because a CUDA graph uses a fixed address
            self.state_mask = backend.zeros((self.T, self.B), dtype)  # (T, B)
        self.state_mask[: len(state_mask)] = backend.to_device(state_mask.astype(dtype))

    def draw_masks(self, generator: Uniform) -> None:
        """Draw masks for the next chunk. Dropout and DropConnect are inactive until masks are drawn."""
        config, backend, shape = self.config, self.parameters.backend, (self.T, self.config.rnn_size, self.B)
        for k, mask in enumerate(self.masks if config.dropout else ()):
            if mask is None:  # allocated only once, because a CUDA graph uses fixed addresses
                mask = self.masks[k] = backend.zeros(shape, self.parameters.dtype)  # (T, H, B)
            dropout.draw_mask(config.dropout, generator, mask)
        for linear in self.dropped:
            linear.draw_mask(config.weight_drop, generator.shared)

    def advance(self, t: int, ids: Array) -> None:
        """Run m steps of all layers, from step `t`, on the characters `ids` ``(m, B)``."""
        self.n = t + len(ids)
        steps = slice(t, self.n)
        self.layers[0].read(steps, ids if self.embedding is None else self.embedding.forward(ids))
        if self.wavefront is not None:
            self.wavefront.forward(steps, self.masks, partial(dropout.on_steps, dropout.forward))
            return
        for step in range(t, self.n):
            for layer, mask in zip(self.layers, self.masks, strict=True):
                layer.step(step)
                if mask is not None:
                    dropout.on_steps(dropout.forward, mask, layer.above, step)

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
        for linear in self.dropped:
            linear.apply_mask()
        n = self.T if n is None else n
        self.fed = feed.ids if callable(feed) else feed
        if len(self.fed) < n:
            raise ValueError(f"the feed has no characters for step {len(self.fed)} of {n}")
        if callable(feed):
            for t in range(n):
                self.advance(t, feed(t, self.look)[None])
        else:
            self.advance(0, feed[:n])

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
        self.run(feed, len(targets))
        return self.readout.measure(targets)

    def store_caches(self, store: bool) -> None:
        """Set whether to store each step's cache, which only the backward pass needs."""
        for layer in self.layers:
            layer.store_caches(store)

    def loss_and_gradient(self, feed: Feed, targets: Array) -> Array:
        """Run the network on a chunk, return its mean loss, and fill `gradient` with the loss gradient."""
        self.run(feed, len(targets))
        loss = self.readout.loss_and_gradient(targets)
        self.backward()
        return loss

    def backward(self) -> None:
        """Backpropagate from the readout through all layers and time steps of the last forward pass."""
        n, ids = self.n, self.fed[: self.n]
        steps, dx = slice(0, n), self.readout.dx  # (T, H, B)
        if self.wavefront is not None:
            drop = partial(dropout.on_steps, dropout.backward)
            dx = self.wavefront.backward(n, self.masks, drop, dx, ids)
        else:
            for layer, mask in zip(reversed(self.layers), reversed(self.masks), strict=True):
                if mask is not None:
                    dropout.on_steps(dropout.backward, mask, [dx], steps)
                layer.backward(steps, dx[:n])
                layer.gradients(steps, n, ids)
                dx = layer.readers[0].dx if layer.readers else None  # (T, D, B)
        for linear in self.dropped:
            linear.mask_gradient()
        if self.embedding is not None:
            self.embedding.backward(dx[:n], ids)

    def carry(self) -> None:
        """Start the next chunk from the state after the last step."""
        for layer in self.layers:
            layer.carry(self.n)
