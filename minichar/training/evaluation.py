"""Evaluation: the loss of a model on a text.

The loss is the mean over all characters, read in order, with the state carried from chunk
to chunk. It depends on the initial state: zero, as in generation, or carried over from the
text before. Compare the losses of the first and the last chunk to see how much.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import exp, inf, log

import numpy as np

from minichar.devices.backend import Array
from minichar.engine.network import Network, teacher_forcing
from minichar.errors import MinicharError, Option
from minichar.model import CharRNN
from minichar.text.batches import Split

PARTS = ("train", "val", "test")
LARGEST_LOSS = 700
"""A loss, in nats, whose exponential is still a finite float."""

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
        """exp(loss): the number of equally likely characters that would be as hard to predict."""
        return exp(self.loss) if self.loss < LARGEST_LOSS else inf


def evaluate(network: Network, chunks: Iterable[Chunk]) -> Evaluation:
    """Return the loss over `chunks`, starting from the current state of `network`.

    Parameters
    ----------
    network : Network
        Without dropout masks. Afterwards it has the state at the end of the last chunk.
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
        Start from a zero state, or carry the state over from the parts before. The latter needs
        a split by columns, where each stream continues into the next part.
    watch : callable, optional
        Yields the chunks it is given; a caller can count them for a progress bar.

    Raises
    ------
    MinicharError
        If the part is empty, or the state cannot be carried over.
    """
    if not len(getattr(split, part)):
        raise MinicharError(
            f"the {part} part of the text is empty: choose another ",
            Option("part"),
            " or change the fractions",
        )
    if start == "carried" and split.how != "columns":
        raise MinicharError(
            Option("start", "carried"),
            " needs ",
            Option("split", "columns"),
            ": in other splits, no stream continues into the next part",
        )
    network = model.network(split.T, split.B)
    to_device = model.parameters.backend.to_device
    if start == "carried":
        for before in PARTS[: PARTS.index(part)]:
            for inputs, _ in watch(getattr(split, before)):
                network.run(teacher_forcing(to_device(inputs)))
                network.carry()
    return evaluate(network, watch(getattr(split, part)))


def evaluate_whole(model: CharRNN, ids: Array, T: int = 100, watch: Watch = iter) -> Evaluation:
    """Return the loss on a whole text, read as one stream from a zero state; all characters but the first.

    Parameters
    ----------
    model : CharRNN
    ids : array of int, (N,)
        N ≥ 2.
    T : int
        Characters per chunk; it does not change the result.
    watch : callable, optional
        As in `evaluate_part`.
    """
    column = ids[:, None]  # (N, 1)
    chunks = [
        (column[i : i + T][: len(ids) - 1 - i], column[i + 1 : i + 1 + T]) for i in range(0, len(ids) - 1, T)
    ]
    return evaluate(model.network(T, 1), watch(chunks))
