"""Generate several texts at the same time, each in one column of a batch.

    step    every column reads one character: the next of its prime, or the last one it generated
            every column that has read its prime samples the next from its own logits

Texts can join and leave between steps, and each has its own random generator. A text depends on
the others only through rounding: the order of the sums in a product changes with the number of
columns, and so, rarely, does a sampled character. With an exact model (`CharRNN.exact`) a text
does not depend on the others at all.
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
"""How many random numbers a stream draws at a time."""


class Stream:
    """One text.

    Parameters
    ----------
    prime : iterable of int
        Ids to read first, from a zero state. If empty, the first character is drawn uniformly.
    choice : Choice
    generator : numpy.random.Generator
        It gives one number for each character, also where `given` replaces the result.
    given : mapping of int to int, optional
        Ids by position, counted from 0, that replace the sampled ones.

    Attributes
    ----------
    length : int
        How many characters have been generated.
    """

    def __init__(
        self,
        prime: Iterable[int],
        choice: Choice,
        generator: np.random.Generator,
        given: Mapping[int, int] | None = None,
    ) -> None:
        self.pending = deque(int(k) for k in prime)
        self.temperature, self.choice = choice.temperature, replace(choice, temperature=1.0)
        self.group = repr(self.choice)  # streams with equal choices sample together; a str caches its hash
        self.numbers = uniform_numbers(generator)
        self.given = dict(given or {})
        self.length = 0

    def append(self, k: int) -> int:
        """Append the sampled id `k` or the given one, to be read at the next step, and return it."""
        if self.given:
            k = self.given.get(self.length, k)
        self.pending.append(k)
        self.length += 1
        return k


def uniform_numbers(generator: np.random.Generator) -> Iterator[float]:
    """Return an endless iterator of uniform random numbers in [0, 1)."""
    return chain.from_iterable(generator.random(BLOCK).tolist() for _ in repeat(None))


class Streams:
    """A batch of texts, and the network that generates them.

    Parameters
    ----------
    model : CharRNN
    columns : int
        The initial number of columns. It doubles when they are all in use, and halves when at most
        a quarter of them are.

    Attributes
    ----------
    streams : list of Stream
        Stream b is column b of the network. Columns after the last stream are idle.
    """

    def __init__(self, model: CharRNN, columns: int = 1) -> None:
        self.model, self.backend = model, model.parameters.backend
        self.unknown_id = model.vocabulary.unknown_id
        self.streams: list[Stream] = []
        self.network = self.model.network(1, columns)

    def join(self, stream: Stream) -> None:
        """Add a text in a new column with a zero state."""
        b = len(self.streams)
        if b == self.network.B:
            self._resize(2 * b)
        self.streams.append(stream)
        self._begin(b)

    def leave(self, stream: Stream) -> None:
        """Remove a text. The last column moves into its place."""
        b, last = self.streams.index(stream), len(self.streams) - 1
        for layer in self.network.layers:
            layer.start[:, :, b] = layer.start[:, :, last]
        self.streams[b] = self.streams[last]
        self.streams.pop()
        if 4 * max(last, 1) <= self.network.B:
            self._resize(self.network.B // 2)

    def step(self) -> tuple[list[Stream], np.ndarray, np.ndarray]:
        """Feed every text one character, and sample one for each text that has read its prime.

        Returns
        -------
        streams : list of n Stream
            The texts that got a character.
        ids : array of int, (n,)
            Their new ids.
        scores : array of float64, (V, n)
            The logits they were sampled from. That of the unknown id is -inf, so it is never drawn.

        Raises
        ------
        MinicharError
            If the logits are not finite.
        """
        network, streams = self.network, self.streams
        empty = [b for b, stream in enumerate(streams) if not stream.pending]  # without a prime
        fed = np.zeros(network.B, dtype=np.intp)  # (B,)
        fed[: len(streams)] = [stream.pending.popleft() if stream.pending else 0 for stream in streams]
        with np.errstate(over="ignore", invalid="ignore"):
            logits = network.step(0, self.backend.to_device(fed))  # (V, B)
        network.carry()
        for b in empty:  # nothing was read, so every character is equally likely
            self._begin(b)
            logits[:, b] = 0.0
        ready = [b for b, stream in enumerate(streams) if not stream.pending]
        sampled = [streams[b] for b in ready]
        columns = ready if len(ready) < network.B else slice(None)  # a slice is faster, and the usual case
        scores = self.backend.to_host(logits)[:, columns].astype("float64")  # (V, n)
        if not np.isfinite(scores).all():
            raise MinicharError(
                "the model's logits are not finite: its weights are damaged, use another checkpoint"
            )
        if self.unknown_id is not None:
            scores[self.unknown_id] = -np.inf
        drawn = zip(sampled, choose(sampled, scores), strict=True)
        return sampled, np.array([stream.append(k) for stream, k in drawn], np.intp), scores

    def _begin(self, b: int) -> None:
        for layer in self.network.layers:
            layer.start[:, :, b] = 0.0

    def _resize(self, B: int) -> None:
        """Continue with a network of `B` columns."""
        network, n = self.model.network(1, B), min(B, self.network.B)
        for layer, old in zip(network.layers, self.network.layers, strict=True):
            layer.start[:, :, :n] = old.start[:, :, :n]
        self.network = network


def choose(streams: list[Stream], scores: np.ndarray) -> list[int]:
    """Return an id for each stream from its column of scores ``(V, n)``."""
    u = np.array([next(stream.numbers) for stream in streams])  # (n,)
    temperature = np.array([stream.temperature for stream in streams])  # (n,)
    ids = np.empty(len(streams), dtype=np.intp)  # (n,)
    groups: dict[str, list[int]] = {}
    for j, stream in enumerate(streams):
        groups.setdefault(stream.group, []).append(j)
    for columns in groups.values():
        these = columns if len(groups) > 1 else slice(None)
        ids[these] = streams[columns[0]].choice.ids(scores[:, these], u[these], temperature[these])
    return ids.tolist()
