"""Measuring a model on text it does not learn from.

The loss is the mean over all characters, read in order with the state carried along.
It depends on where the state starts: from zero, as generation does, or carried on
from the text before. The losses of the first and the last chunk show how much.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log

import numpy as np

from minichar.backend import Array
from minichar.engine.network import Network, teacher_forcing


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
        return exp(self.loss)


def evaluate(network: Network, chunks: Iterable[tuple[Array, Array]]) -> Evaluation:
    """Return the loss over `chunks`, starting from the state that `network` has.

    Parameters
    ----------
    network : Network
        Without dropout masks; its state is carried from chunk to chunk and left at the end.
    chunks : iterable of (inputs, targets)
        Arrays of int ``(n, B)``, n ≤ T.
    """
    losses, sizes = [], []
    for inputs, targets in chunks:
        logits = network.forward(teacher_forcing(inputs), len(inputs))  # (n, V, B)
        losses.append(float(network.loss.forward(logits, targets)))
        sizes.append(targets.size)
        network.carry(len(inputs))
    return Evaluation(float(np.average(losses, weights=sizes)), losses[0], losses[-1], sum(sizes))
