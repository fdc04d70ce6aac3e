"""Evaluate a model's loss on text.

The loss is the mean over all characters. The state is zero at first and carried from chunk to chunk. To see
how much the initial state matters, compare the losses of the first and last chunks.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import exp, inf, isfinite, log
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minichar.devices.backend import Array
from minichar.engine.network import Network
from minichar.errors import MinicharError, Option, counted
from minichar.model import CharRNN
from minichar.text.mapping import release
from minichar.text.resets import Resets


class Measurement:
    """Measures the loss on successive chunks.

    Chunks of T steps are copied to a preallocated array so that a backend can capture and replay the forward
    pass (`Backend.recorded`). The network no longer keeps the caches of the backward pass.
    """

    def __init__(self, network: Network) -> None:
        network.store_caches(False)
        self.network, self.backend = network, network.parameters.backend
        self.chunk = self.backend.zeros((2, network.T, network.B), np.intp)  # (2, T, B): inputs and targets
        self.loss = self.backend.zeros((), "float64")
        self.whole_chunk = self.backend.recorded(partial(self._measure, *self.chunk))

    def __call__(self, inputs: np.ndarray, targets: np.ndarray) -> Array:
        """Return the mean loss on a chunk ``(n, B)``, n ≤ T, and carry the state over to the next chunk.

        The loss, of shape ``()``, is on the device, and the next call overwrites it.
        """
        chunk = self.chunk[:, : len(inputs)]  # (2, n, B)
        chunk[...] = self.backend.to_device(np.stack([inputs, targets]))
        if len(inputs) == self.network.T:
            self.whole_chunk()
        else:
            self._measure(*chunk)
        return self.loss

    def _measure(self, inputs: Array, targets: Array) -> None:
        self.loss[...] = self.network.measure(inputs, targets)
        self.network.carry()


BLOCKS = 64
"""Number of blocks evaluated at a time (`evaluate_blocks`)."""
READ = 64
"""Number of chunks whose losses are copied to the host at once. The host waits for the device only then."""
LARGEST_LOSS = 700
"""Loss in nats below which ``exp(loss)`` is finite."""

Chunk = tuple[Array, ...]
"""Inputs, targets and, if states are reset, the state mask (`minichar.text.batches.Chunks`)."""
Watch = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Losses in nats per character.

    Attributes
    ----------
    loss : float
        Mean over all characters.
    first, last : float
        Means over the first and last chunks.
    characters : int
    """

    loss: float
    first: float
    last: float
    characters: int

    @property
    def bits(self) -> float:
        """Bits per character: nats divided by ln 2."""
        return self.loss / log(2)

    @property
    def perplexity(self) -> float:
        """exp(loss): the number of equally likely characters that would give the same loss."""
        return exp(self.loss) if self.loss < LARGEST_LOSS else inf

    def __str__(self) -> str:
        return (
            f"{self.loss:.4f} nats = {self.bits:.4f} bits per character, "
            f"perplexity {self.perplexity:.3f}, {counted(self.characters, 'character')}"
        )

    def __repr__(self) -> str:
        return f"Evaluation: loss {self}"


def evaluate(measure: Measurement, chunks: Iterable[Chunk]) -> Evaluation:
    """Return the loss over `chunks`, starting from the current state of the network.

    The network must not have dropout masks; its state advances to the end of the last chunk. A chunk consists
    of inputs and targets ``(n, B)``, n ≤ T, and optionally a mask for `Network.set_state_mask`.
    """
    block = measure.backend.zeros((READ,), "float64")  # (READ,)
    losses: list[float] = []
    sizes: list[int] = []
    for inputs, targets, *state_mask in chunks:
        measure.network.set_state_mask(*state_mask)
        k = len(sizes) % READ
        block[k] = measure(inputs, targets)
        sizes.append(targets.size)
        if k == READ - 1:
            losses += measure.backend.to_host(block).tolist()
    if rest := len(sizes) % READ:
        losses += measure.backend.to_host(block[:rest]).tolist()
    return Evaluation(float(np.average(losses, weights=sizes)), losses[0], losses[-1], sum(sizes))


def until(late: Callable[[], bool], items: Iterable[Any]) -> Iterator[Any]:
    """Yield the first item, and then the others until `late()` is true."""
    for k, item in enumerate(items):
        if k > 0 and late():
            return
        yield item


@np.errstate(over="ignore", invalid="ignore")  # a loss that is not finite is reported below
def evaluate_streams(
    model: CharRNN,
    streams: Array,
    T: int = 100,
    watch: Watch = iter,
    resets: Resets | None = None,
) -> Evaluation:
    """Return the loss on streams of text, each of which starts from a zero state.

    The loss excludes the first character of each stream, which is not predicted.

    Parameters
    ----------
    streams : array of int, (B, M)
        The encoded text, with M ≥ 2.
    T : int, optional
        Number of characters per chunk, which does not affect the loss.
    watch : callable, optional
        Function that wraps an iterable with one item per chunk, for example to update a progress bar.
    resets : Resets, optional
        Positions in the streams where the state is reset.

    Raises
    ------
    MinicharError
        If the loss is not finite. (The trainer uses a separate check, which also identifies the parameter.)
    """
    B, last = streams.shape[0], streams.shape[1] - 1
    network = model.network(min(T, last), B)

    def chunks() -> Iterator[Chunk]:
        for i in watch(range(0, last, T)):
            window = streams[:, i : i + T + 1].T  # (n+1, B)
            state_mask = [] if resets is None else [resets.state_mask(i, len(window) - 1)]
            yield window[:-1], window[1:], *state_mask
            release(streams)

    result = evaluate(Measurement(network), chunks())
    if not isfinite(result.loss):
        problem = "the model's loss on this text is not finite: its weights are corrupted"
        raise MinicharError(f"{problem}; use another checkpoint")
    return result


def evaluate_blocks(
    model: CharRNN, streams: Array, N: int, watch: Watch = iter, resets: Resets | None = None
) -> Evaluation:
    """Return the loss on consecutive blocks of N characters, each of which starts from a zero state.

    As in nanoGPT, the context is limited to one block. Unlike in nanoGPT, the loss is the mean over all
    blocks rather than over a random sample. The first characters of a block are hard to predict, so the
    loss is higher than if the state were carried from block to block.

    For the parameters, see `evaluate_streams`. Characters after the last complete block of a stream are not
    evaluated. Streams that are too short for a block, and a loss that is not finite, raise a `MinicharError`.
    """
    if streams.shape[1] <= N:
        have = f"the streams have {streams.shape[1]:,} characters each"
        raise MinicharError(Option("block", N), f" is too long: {have}; choose a shorter block")
    blocks = sliding_window_view(streams, N + 1, axis=1)[:, ::N]  # (B, n, N + 1), a view
    b, j = (each.ravel() for each in np.indices(blocks.shape[:2]))  # (B n,) each
    results = []
    for start in watch(range(0, len(b), BLOCKS)):
        group = slice(start, start + BLOCKS)
        own = None if resets is None else resets.at(resets.origins[b[group]] + j[group] * N)
        results.append(evaluate_streams(model, blocks[b[group], j[group]], N, resets=own))
        release(streams)
    sizes = [result.characters for result in results]
    loss = float(np.average([result.loss for result in results], weights=sizes))
    return Evaluation(loss, results[0].loss, results[-1].loss, sum(sizes))
