"""Text from a model: prime it, then draw a character and feed it back, again and again.

    logits ← network(last character)
    next character ~ softmax(logits / temperature), cut (`minichar.sampling.choice`)

The same `Network.step` as in training, for all texts at once (`minichar.sampling.streams`).
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np

from minichar.devices.cpu import host_generator
from minichar.errors import MinicharError
from minichar.model import CharRNN
from minichar.sampling.choice import Choice
from minichar.sampling.streams import Stream, Streams
from minichar.text.vocabulary import Vocabulary

Unknown = Literal["error", "skip", "unk"]
STREAM = 2
"""A word of the seed that weights and training do not use, so that samples have numbers of their own."""
MAX_SAMPLES = 4096


def sample_ids(
    model: CharRNN, prime: np.ndarray, choice: Choice, generators: Sequence[np.random.Generator]
) -> Iterator[np.ndarray]:
    """Yield the ids of the next characters, ``(B,)``, without end.

    Parameters
    ----------
    model : CharRNN
    prime : array of int, (N,)
        What every stream reads first, from a zero state. Empty: the first character is drawn evenly.
    choice : Choice
    generators : sequence of B numpy.random.Generator
        One a stream, so a stream does not depend on its neighbours' luck.
    """
    streams = Streams(model, len(generators))
    for generator in generators:
        streams.join(Stream(prime, choice, generator))
    while True:
        _, ids, _ = streams.step()
        if len(ids):
            yield ids


class StopFilter:
    """Lets text through until one of the stop strings is complete.

    What might be the beginning of a stop string is held back until it is known not to be.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.beginnings = {stop[0] for stop in self.stops}
        self.held = ""
        self.stopped = False

    def push(self, character: str) -> str:
        """Take one character; return what is now sure to belong to the text."""
        if not self.held and character not in self.beginnings:
            return character
        self.held += character
        for stop in self.stops:
            if self.held.endswith(stop):
                text, self.held, self.stopped = self.held.removesuffix(stop), "", True
                return text
        longest = max((len(stop) for stop in self.stops), default=1) - 1
        tails = range(max(0, len(self.held) - longest), len(self.held))
        cut = next((j for j in tails if any(s.startswith(self.held[j:]) for s in self.stops)), len(self.held))
        text, self.held = self.held[:cut], self.held[cut:]
        return text

    def end(self) -> str:
        """Return what is still held back, when no more is to come."""
        text, self.held = self.held, ""
        return text


def prime_ids(vocabulary: Vocabulary, prime: str, unknown: Unknown = "error") -> np.ndarray:
    """Return the ids of the prime text; a line break, if the model knows it, where nothing is left of it.

    Raises
    ------
    MinicharError
        If a character is not in the vocabulary and `unknown` is ``error``.
    """
    ids = vocabulary.encode(prime, unknown)
    if not len(ids) and "\n" in vocabulary:
        return vocabulary.encode("\n")
    return ids


def generate_many(
    model: CharRNN,
    num_samples: int,
    length: int = 2000,
    prime: str = "",
    seed: int = 123,
    stop: Sequence[str] = (),
    unknown: Unknown = "error",
    choice: Choice = Choice(),
) -> Iterator[list[str]]:
    """Yield what each of `num_samples` texts grows by, step after step, all in one batch.

    The first text is the one `generate` gives for the same seed, up to rounding in the products of
    a batch; with an exact model (`CharRNN.exact`) to the last character. Parameters and errors as
    `generate`.
    """
    if length < 0:
        raise MinicharError(f"length is {length}; it must be 0 (no end) or more")
    if not 1 <= num_samples <= MAX_SAMPLES:
        raise MinicharError(f"num-samples is {num_samples}; it must be from 1 to {MAX_SAMPLES}")
    if seed < 0:
        raise MinicharError(f"seed is {seed}; it must be 0 or more")
    characters = model.vocabulary.characters
    generators = [host_generator(seed, STREAM, i) for i in range(num_samples)]
    filters = [StopFilter(stop) for _ in range(num_samples)]
    steps = sample_ids(model, prime_ids(model.vocabulary, prime, unknown), choice, generators)
    for ids in islice(steps, length or None):
        yield ["" if f.stopped else f.push(characters[k]) for f, k in zip(filters, ids, strict=True)]
        if all(f.stopped for f in filters):
            return
    yield [f.end() for f in filters]


def generate(
    model: CharRNN,
    length: int = 2000,
    prime: str = "",
    seed: int = 123,
    stop: Sequence[str] = (),
    unknown: Unknown = "error",
    choice: Choice = Choice(),
) -> Iterator[str]:
    """Yield generated text piece by piece as it is made; the prime is not repeated.

    What is wrong with the arguments is raised when the first piece is asked for.

    Parameters
    ----------
    model : CharRNN
    length : int
        Characters to make, 0 for no end.
    prime : str
        What the model reads first. Empty: it starts as after a line break.
    seed : int
        The same seed gives the same text.
    stop : sequence of str
        Strings that end the text; they are not part of it.
    unknown : {"error", "skip", "unk"}
        What to do with a character of `prime` that the model does not know.
    choice : Choice

    Raises
    ------
    MinicharError
        If `prime` holds unknown characters and `unknown` is ``error``, or a value is out of range.
    """
    for (piece,) in generate_many(model, 1, length, prime, seed, stop, unknown, choice):
        yield piece
