"""Generate multiple streams of text at once, each in one column of a batch.

    step    each column receives one character: the next one from its prompt, or the last one generated
            each column that has reached the end of its prompt samples the next character from its logits

Streams can be added and removed between steps. Each stream has its own random generator, so streams affect
each other only through rounding: the summation order in a matrix product depends on the number of columns.
In rare cases, rounding changes a sampled character. With an exact model (`CharRNN.exact`), streams are
independent.

If the model was trained with ``reset_on``, the state of a stream is reset to zero before the last character
of each separator (`minichar.text.resets`), both in the prompt and in generated text.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, repeat

import numpy as np

from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.choice import NOT_FINITE, Choice

BLOCK = 256
"""Number of random numbers that a stream draws at once."""


class Stream:
    """One stream of generated text.

    Parameters
    ----------
    prime : iterable of int
        Ids to feed first, starting from a zero state. If empty, the first character is drawn
        uniformly.
    generator : numpy.random.Generator
        Random number generator. One number is drawn per character, even if `given` replaces the
        sampled id.
    given : mapping of int to int, optional
        Ids that replace the sampled ids, keyed by zero-based position.
    bias : mapping of int to float, optional
        Values to add to the logits before sampling, keyed by id.
    """

    def __init__(
        self,
        prime: Iterable[int],
        choice: Choice,
        generator: np.random.Generator,
        given: Mapping[int, int] | None = None,
        bias: Mapping[int, float] | None = None,
    ) -> None:
        self.pending = deque(int(k) for k in prime)
        self.temperature, self.choice = choice.temperature, replace(choice, temperature=1.0)
        # Streams in the same group are sampled together. The key is a str because a str caches its hash.
        self.group = repr(self.choice)
        self.numbers = uniform_numbers(generator)
        self.given, self.bias = dict(given or {}), dict(bias or {})
        self.length = 0  # number of generated characters
        self.recent: deque[int] = deque()  # the last input ids, up to the length of the separator

    def append(self, k: int) -> int:
        """Append the sampled id `k`, or its replacement in `given`, to the inputs and return it."""
        if self.given:
            k = self.given.get(self.length, k)
        self.pending.append(k)
        self.length += 1
        return k


def uniform_numbers(generator: np.random.Generator) -> Iterator[float]:
    """Return an infinite iterator over uniform random numbers in [0, 1)."""
    return chain.from_iterable(generator.random(BLOCK).tolist() for _ in repeat(None))


class Streams:
    """A batch of streams, and the network that generates their text.

    `columns` is the initial number of columns. It doubles when a stream is added to a full batch, and halves
    when at most a quarter of the columns are in use.
    """

    def __init__(self, model: CharRNN, columns: int = 1) -> None:
        self.model, self.backend = model, model.parameters.backend
        self.unknown_id = model.vocabulary.unknown_id
        self.separator = deque(model.vocabulary.encode(model.reset_on).tolist())
        self.streams: list[Stream] = []  # stream b is in column b; columns beyond the last stream are idle
        self.network = self.model.network(1, columns)

    def join(self, stream: Stream) -> None:
        """Add a stream in a new column, starting from a zero state."""
        b = len(self.streams)
        if b == self.network.B:
            self._resize(2 * b)
        stream.recent = deque(maxlen=len(self.separator))
        self.streams.append(stream)
        self.network.reset(b)

    def move(self, stream: Stream, other: "Streams") -> None:
        """Move a stream with its state to another batch of the same model."""
        b, recent = self.streams.index(stream), stream.recent
        other.join(stream)
        stream.recent = recent
        other.network.set_state_of(len(other.streams) - 1, self.network.state_of(b))
        self.leave(stream)

    def leave(self, stream: Stream) -> None:
        """Remove a stream and move the last stream to the freed column."""
        b, last = self.streams.index(stream), len(self.streams) - 1
        self.network.set_state_of(b, self.network.state_of(last))
        self.streams[b] = self.streams[last]
        self.streams.pop()
        if 4 * max(last, 1) <= self.network.B:
            self._resize(self.network.B // 2)

    def step(self) -> tuple[list[Stream], np.ndarray, np.ndarray]:
        """Feed one character to each stream, and sample one in each that has reached the end of its prompt.

        Return the n streams for which a character was sampled, the sampled ids ``(n,)``, and their scores
        ``(V, n)``: the logits from which the ids were sampled, in float64, with -inf for the unknown token,
        which is never sampled. Logits that are not finite raise a `MinicharError`.
        """
        network, streams = self.network, self.streams
        empty = [b for b, stream in enumerate(streams) if not stream.pending]  # without a prompt
        if self.separator:
            self._reset_documents()
        inputs = [stream.pending.popleft() if stream.pending else 0 for stream in streams]
        fed = np.array(inputs + [0] * (network.B - len(streams)), np.intp)  # (B,)
        with np.errstate(over="ignore", invalid="ignore"):
            logits = network.step(0, self.backend.to_device(fed))  # (V, B)
        network.carry()
        for b in empty:  # without a prompt, the first character is drawn uniformly
            self.network.reset(b)
            logits[:, b] = 0.0
        ready = [b for b, stream in enumerate(streams) if not stream.pending]
        sampled = [streams[b] for b in ready]
        columns = ready if len(ready) < network.B else slice(None)  # a slice is faster than an index list
        scores = self.backend.to_host(logits)[:, columns].astype(np.float64)  # (V, n)
        if not np.isfinite(scores).all():
            raise MinicharError(NOT_FINITE)
        if self.unknown_id is not None:
            scores[self.unknown_id] = -np.inf
        drawn = zip(sampled, choose(sampled, scores), strict=True)
        return sampled, np.array([stream.append(k) for stream, k in drawn], np.intp), scores

    def _reset_documents(self) -> None:
        """Reset the state of each stream that is about to complete a separator."""
        for b, stream in enumerate(self.streams):
            if stream.pending:
                stream.recent.append(stream.pending[0])
                if stream.recent == self.separator:
                    self.network.reset(b)

    def _resize(self, B: int) -> None:
        """Change the number of columns to `B`, keeping the states of all streams."""
        network, used = self.model.network(1, B), slice(min(B, self.network.B))
        network.set_state_of(used, self.network.state_of(used))
        self.network = network


def choose(streams: list[Stream], scores: np.ndarray) -> list[int]:
    """Return an id for each stream, sampled from its column of scores ``(V, n)``."""
    if any(stream.bias for stream in streams):
        scores = scores.copy()  # (V, n)
        for j, stream in enumerate(streams):
            scores[list(stream.bias), j] += list(stream.bias.values())
    u = np.array([next(stream.numbers) for stream in streams])  # (n,)
    temperature = np.array([stream.temperature for stream in streams])  # (n,)
    groups: dict[str, list[int]] = {}
    for j, stream in enumerate(streams):
        groups.setdefault(stream.group, []).append(j)
    if len(groups) == 1:  # usually, and faster without index lists
        return streams[0].choice.ids(scores, u, temperature).tolist()
    ids = np.empty(len(streams), dtype=np.intp)  # (n,)
    for columns in groups.values():
        ids[columns] = streams[columns[0]].choice.ids(scores[:, columns], u[columns], temperature[columns])
    return ids.tolist()
