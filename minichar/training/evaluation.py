"""Measuring a model on text it does not learn from.

The loss is the mean over all characters, read in order with the state carried along.
It depends on where the state starts: from zero, as generation does, or carried on
from the text before. The losses of the first and the last chunk show how much.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import exp, inf, log

import numpy as np

from minichar.devices.backend import Array
from minichar.engine.network import Network, teacher_forcing
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.text.batches import Split

PARTS = ("train", "val", "test")
LARGEST_LOSS = 700
"""Nats whose exponential still is a float."""

Chunk = tuple[Array, Array]
Watch = Callable[[Iterable[Chunk]], Iterable[Chunk]]


@dataclass(frozen=True)
class Evaluation:
    """Losses in nats per character.

    Attributes
    ----------
    loss : float
        Mean over all characters.
    first, last : float
        Mean over the first and the last chunk.
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
        """How many equally likely characters would be as hard to guess: e to the nats."""
        return exp(self.loss) if self.loss < LARGEST_LOSS else inf


def evaluate(network: Network, chunks: Iterable[Chunk]) -> Evaluation:
    """Return the loss over `chunks`, starting from the state that `network` has.

    Parameters
    ----------
    network : Network
        Without dropout masks; its state is carried from chunk to chunk and left at the end.
    chunks : iterable of (inputs, targets)
        Arrays of int ``(n, B)``, n ≤ T.
    """
    to_device, to_host = network.parameters.backend.to_device, network.parameters.backend.to_host
    losses, sizes = [], []
    for inputs, targets in (map(to_device, chunk) for chunk in chunks):
        losses.append(float(to_host(network.measure(teacher_forcing(inputs), targets))))
        sizes.append(targets.size)
        network.carry()
    return Evaluation(float(np.average(losses, weights=sizes)), losses[0], losses[-1], sum(sizes))


def evaluate_part(model: CharRNN, split: Split, part: str, start: str, watch: Watch = iter) -> Evaluation:
    """Return the loss on one part of a split text.

    Parameters
    ----------
    model : CharRNN
    split : Split
    part : {"train", "val", "test"}
    start : {"zero", "carried"}
        Begin from a zero state, or from the state that the parts before leave. Only a
        split by columns can carry it on: there, each stream goes on into the next part.
    watch : callable, optional
        Passes the chunks through, so that a caller can see them go by.

    Raises
    ------
    MinicharError
        If the part is empty, or its state cannot be carried on.
    """
    if not len(getattr(split, part)):
        raise MinicharError(f"the {part} part of the text is empty: choose another --part or other fractions")
    if start == "carried" and split.how != "columns":
        raise MinicharError("--start carried needs --split columns: in other splits no stream goes on")
    network = model.network(split.T, split.B)
    to_device = model.parameters.backend.to_device
    if start == "carried":
        for before in PARTS[: PARTS.index(part)]:
            for inputs, _ in watch(getattr(split, before)):
                network.run(teacher_forcing(to_device(inputs)))
                network.carry()
    return evaluate(network, watch(getattr(split, part)))


def evaluate_whole(model: CharRNN, ids: Array, T: int = 100, watch: Watch = iter) -> Evaluation:
    """Return the loss of a whole text read as one stream from a zero state, every character but the first.

    Parameters
    ----------
    model : CharRNN
    ids : array of int, (N,)
        N ≥ 2.
    T : int
        Characters a chunk; it does not change the result.
    watch : callable, optional
        As in `evaluate_part`.
    """
    column = ids[:, None]  # (N, 1)
    chunks = [
        (column[i : i + T][: len(ids) - 1 - i], column[i + 1 : i + 1 + T]) for i in range(0, len(ids) - 1, T)
    ]
    return evaluate(model.network(T, 1), watch(chunks))
