"""Evaluate a model's loss on text.

The loss is the mean over all characters. The state is zero at first and carried from chunk to chunk. To see
how much the initial state matters, compare the losses of the first and last chunks.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import exp, inf, isfinite, log
from typing import Any

import numpy as np

from minichar.devices.backend import Array
from minichar.engine.network import Network
from minichar.errors import MinicharError, Option, counted
from minichar.model import CharRNN
from minichar.text.batches import Chunks, Split
from minichar.text.mapping import release
from minichar.text.resets import Resets
from minichar.training.settings import HELD_OUT


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


PART_NAMES = {"train": "training", **HELD_OUT}
"""Names of the splits, for use in messages."""
PARTS = tuple(PART_NAMES)
BLOCKS = 64
"""Number of blocks evaluated at a time (`evaluate_blocks`)."""
READ = 64
"""Number of chunks whose losses are copied to the host at once. The host waits for the device only then."""
LARGEST_LOSS = 700
"""Loss in nats below which ``exp(loss)`` is finite."""

Chunk = tuple[Array, ...]
"""Inputs, targets and, if states are reset, the state mask (`Chunks`)."""
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


def check_finite(evaluation: Evaluation) -> Evaluation:
    """Return `evaluation`, or raise a `MinicharError` if its loss is not finite: the weights are corrupted.

    The trainer uses a separate check, which also identifies the non-finite parameter.
    """
    if not isfinite(evaluation.loss):
        raise MinicharError(
            "the model's loss on this text is not finite: its weights are corrupted; use another checkpoint"
        )
    return evaluation


def chunks_of(split: Split, part: str) -> Chunks:
    """Return the chunks of one part of a split. Raise a `MinicharError` if there are none."""
    chunks: Chunks = getattr(split, part)
    if not len(chunks):
        raise MinicharError(f"the {PART_NAMES[part]} split is empty: choose another ", Option("part"))
    return chunks


@np.errstate(over="ignore", invalid="ignore")  # `check_finite` reports non-finite losses
def evaluate_part(model: CharRNN, split: Split, part: str, watch: Watch = iter) -> Evaluation:
    """Return the loss on one split of the text, ``train``, ``val`` or ``test``, from a zero state.

    Parameters
    ----------
    watch : callable, optional
        Function that wraps an iterable with one item per chunk, for example to update a progress bar.

    Raises
    ------
    MinicharError
        If the split is empty, or the loss is not finite.
    """
    chunks = chunks_of(split, part)
    return check_finite(evaluate(Measurement(model.network(split.T, split.B)), watch(chunks)))


@np.errstate(over="ignore", invalid="ignore")  # as in `evaluate_part`
def evaluate_whole(
    model: CharRNN, ids: Array, T: int = 100, watch: Watch = iter, resets: Resets | None = None
) -> Evaluation:
    """Return the loss on a text read as one stream, starting from a zero state.

    The loss excludes the first character, which is not predicted. It does not depend on T, the number of
    characters per chunk. A loss that is not finite raises a `MinicharError`.

    Parameters
    ----------
    ids : array of int, (N,)
        The encoded text, with N ≥ 2.
    watch : callable, optional
        See `evaluate_part`.
    resets : Resets, optional
        Positions in `ids` where the state is reset.
    """

    def chunks() -> Iterator[Chunk]:
        column = ids[:, None]  # (N, 1)
        for i in watch(range(0, len(ids) - 1, T)):
            inputs, targets = column[i : min(i + T, len(ids) - 1)], column[i + 1 : i + 1 + T]  # (n, 1) each
            state_mask = [] if resets is None else [resets.state_mask(i, len(inputs))]
            yield inputs, targets, *state_mask
            release(ids)

    return check_finite(evaluate(Measurement(model.network(T, 1)), chunks()))


@np.errstate(over="ignore", invalid="ignore")  # as in `evaluate_part`
def evaluate_blocks(
    model: CharRNN, streams: Array, N: int, watch: Watch = iter, resets: Resets | None = None
) -> Evaluation:
    """Return the loss on consecutive blocks of N characters, each starting from a zero state.

    As in nanoGPT, the context is limited to one block. Unlike in nanoGPT, the loss is the mean over all
    blocks rather than over a random sample. The first characters of a block are hard to predict, so the
    loss is higher than if the state were carried from block to block.

    Parameters
    ----------
    streams : array of int, (B, M)
        The encoded text. Blocks do not extend past the end of a stream.
    watch : callable, optional
        See `evaluate_part`. Here, each item represents a group of up to `BLOCKS` blocks.
    resets : Resets, optional
        Positions in the streams where the state is reset, in addition to the start of each block.

    Raises
    ------
    MinicharError
        If the streams are too short for a block, or the loss is not finite.
    """
    length = max(streams.shape[1] - 1, 0) // N * N
    if not length:
        raise MinicharError(
            Option("block", N),
            f" is too long: the streams have {streams.shape[1]:,} characters each; choose a shorter block",
        )
    # The streams may be memory-mapped, so use views and copy one group of blocks at a time.
    inputs, targets = (streams[:, k : k + length].reshape(len(streams), -1, N) for k in (0, 1))
    blocks = inputs.shape[0] * inputs.shape[1]

    def chunks(network: Network, starts: Iterable[int]) -> Iterator[Chunk]:
        for start in starts:
            b, j = group = np.divmod(np.arange(start, start + network.B), inputs.shape[1])
            network.reset()
            state_mask = [] if resets is None else [resets.at(resets.origins[b] + j * N).state_mask(0, N)]
            yield inputs[group].T, targets[group].T, *state_mask  # (N, BLOCKS) each
            release(streams)

    results = []
    # The last group may be smaller.
    for B, starts in groupby(watch(range(0, blocks, BLOCKS)), lambda start: min(BLOCKS, blocks - start)):
        measure = Measurement(model.network(N, B))
        results.append(evaluate(measure, chunks(measure.network, starts)))
    losses, sizes = [result.loss for result in results], [result.characters for result in results]
    return check_finite(
        Evaluation(float(np.average(losses, weights=sizes)), results[0].first, results[-1].last, sum(sizes))
    )
