"""Texts that one model writes at the same time, each a column of one batch.

    step    every column reads one character: of its prime, or the one it wrote last
            every column that has read all draws the next from its own logits, by its own numbers

Between two steps a text may join or leave, and each draws from a generator of its own. What a
text becomes depends on its company only by rounding: the terms of a product are summed in an
order that changes with the number of columns, which turns a draw now and then. With an exact
model (`CharRNN.exact`) it does not depend on it at all.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, repeat

import numpy as np

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.choice import Choice

BLOCK = 256
"""How many uniform numbers a stream draws at once."""


class Stream:
    """One text.

    Parameters
    ----------
    prime : iterable of int
        Ids that it reads first, from a zero state. None: its first character is drawn evenly.
    choice : Choice
    generator : numpy.random.Generator
        One number is taken for each character, whatever becomes of it.
    given : mapping of int to int, optional
        Ids to write at these places, counted from 0, in place of what is drawn.

    Attributes
    ----------
    length : int
        How many characters it has written.
    """

    def __init__(
        self,
        prime: Iterable[int],
        choice: Choice,
        generator: np.random.Generator,
        given: Mapping[int, int] | None = None,
    ) -> None:
        self.coming = deque(int(k) for k in prime)
        self.temperature, self.cut = choice.temperature, replace(choice, temperature=1.0)
        self.kind = repr(self.cut)  # texts of a kind are cut alike; a string, since it remembers its hash
        self.numbers = uniform_numbers(generator)
        self.given = dict(given or {})
        self.length = 0

    def write(self, k: int) -> int:
        """Add the drawn id `k`, or the given one; return which it was. It is read at the next step."""
        if self.given:
            k = self.given.get(self.length, k)
        self.coming.append(k)
        self.length += 1
        return k


def uniform_numbers(generator: np.random.Generator) -> Iterator[float]:
    """Return uniform numbers without end."""
    return chain.from_iterable(generator.random(BLOCK).tolist() for _ in repeat(None))


class Streams:
    """The texts in the making, and the network that writes them.

    Parameters
    ----------
    model : CharRNN
    room : int
        How many texts are expected. More make it grow, and few of many make it shrink.

    Attributes
    ----------
    streams : list of Stream
        Text b is column b of the network; columns to the right of the last text are idle.
    """

    def __init__(self, model: CharRNN, room: int = 1) -> None:
        self.model, self.backend = model, model.parameters.backend
        self.unknown_id = model.vocabulary.unknown_id
        self.streams: list[Stream] = []
        self.network = self.model.network(1, room)

    def join(self, stream: Stream) -> None:
        """Give the text a column, its state zero."""
        b = len(self.streams)
        if b == self.network.B:
            self._resize(2 * b)
        self.streams.append(stream)
        self._begin(b)

    def leave(self, stream: Stream) -> None:
        """Take the text out; the last column moves into its place."""
        b, last = self.streams.index(stream), len(self.streams) - 1
        for layer in self.network.layers:
            layer.start[:, :, b] = layer.start[:, :, last]
        self.streams[b] = self.streams[last]
        self.streams.pop()
        if 4 * max(last, 1) <= self.network.B:
            self._resize(self.network.B // 2)

    def step(self) -> tuple[list[Stream], np.ndarray, np.ndarray]:
        """Let every text read a character, and those that have read all write one.

        Returns
        -------
        streams : list of n Stream
            Those that wrote.
        ids : array of int, (n,)
            What they wrote.
        scores : array of float64, (V, n)
            The logits they chose from: that of the unknown id is -inf, so it is never drawn.

        Raises
        ------
        MinicharError
            If the logits are not finite.
        """
        network, streams = self.network, self.streams
        unread = [b for b, stream in enumerate(streams) if not stream.coming]  # without a prime
        fed = np.zeros(network.B, dtype=np.intp)  # (B,)
        fed[: len(streams)] = [stream.coming.popleft() if stream.coming else 0 for stream in streams]
        with np.errstate(over="ignore", invalid="ignore"):
            logits = network.step(0, self.backend.to_device(fed))  # (V, B)
        network.carry()
        for b in unread:  # nothing was read: every character is as likely as another
            self._begin(b)
            logits[:, b] = 0.0
        writing = [b for b, stream in enumerate(streams) if not stream.coming]
        writers = [streams[b] for b in writing]
        columns = writing if len(writing) < network.B else slice(None)  # all, which is usual, the quicker way
        scores = self.backend.to_host(logits)[:, columns].astype("float64")  # (V, n)
        if not np.isfinite(scores).all():
            raise MinicharError(
                "the model's logits are not finite: its weights are damaged, use another checkpoint"
            )
        if self.unknown_id is not None:
            scores[self.unknown_id] = -np.inf
        ids = np.array([s.write(k) for s, k in zip(writers, choose(writers, scores), strict=True)], np.intp)
        return writers, ids, scores

    def _begin(self, b: int) -> None:
        for layer in self.network.layers:
            layer.start[:, :, b] = 0.0

    def _resize(self, B: int) -> None:
        """Go on with a network of `B` columns."""
        network, n = self.model.network(1, B), min(B, self.network.B)
        for layer, old in zip(network.layers, self.network.layers, strict=True):
            layer.start[:, :, :n] = old.start[:, :, :n]
        self.network = network


def choose(streams: list[Stream], scores: np.ndarray) -> list[int]:
    """Return an id for each stream from its column of scores ``(V, n)``; texts that cut alike go together."""
    u = np.array([next(stream.numbers) for stream in streams])  # (n,)
    temperature = np.array([stream.temperature for stream in streams])  # (n,)
    ids = np.empty(len(streams), dtype=np.intp)  # (n,)
    alike: dict[str, list[int]] = {}
    for j, stream in enumerate(streams):
        alike.setdefault(stream.kind, []).append(j)
    for columns in alike.values():
        these = columns if len(alike) > 1 else slice(None)
        ids[these] = streams[columns[0]].cut.ids(scores[:, these], u[these], temperature[these])
    return ids.tolist()
