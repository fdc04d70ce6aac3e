"""Text from a model: prime it, then draw a character and feed it back, again and again.

    logits ← network(last character)
    p = softmax(logits / temperature), cut to the top k and the top p
    next character ~ p

The same `Network.step` as in training, with one time step of workspace. The unknown
id is masked before the softmax, so it is never drawn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Literal

import numpy as np

from minichar.backend import Array, host_generator
from minichar.engine.draw import draw, likeliest
from minichar.errors import MinicharError
from minichar.model import CharRNN

Unknown = Literal["error", "skip", "unk"]
STREAM = 2
"""A word of the seed that weights and training do not use, so that samples have numbers of their own."""
MAX_SAMPLES = 4096
BLOCK = 256
"""How many uniform numbers a stream draws at once."""


@dataclass(frozen=True)
class Choice:
    """How the next character is chosen.

    Attributes
    ----------
    temperature : float
        Logits are divided by it: below 1 safer and more repetitive, above 1 bolder and more mistaken.
    top_k : int
        Draw among the k likeliest characters only; 0 for all.
    top_p : float
        Draw among the fewest characters that hold this share of the probability; 1 for all.
    argmax : bool
        Take the likeliest always; the other options then mean nothing.

    Raises
    ------
    MinicharError
        If a value is out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    argmax: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise MinicharError(
                f"temperature is {self.temperature}; it must be above 0 (--argmax is its limit at 0)"
            )
        if self.top_k < 0:
            raise MinicharError(f"top-k is {self.top_k}; it must be 0 (all characters) or more")
        if not 0 < self.top_p <= 1:
            raise MinicharError(f"top-p is {self.top_p}; it must be above 0 and at most 1 (all characters)")

    def ids(self, logits: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return the ids ``(B,)`` chosen from logits ``(V, B)`` with uniform numbers `u` ``(B,)``."""
        if self.argmax:
            return likeliest(logits)
        # The largest is taken off first: however small the temperature, 0 / temperature is 0.
        with np.errstate(over="ignore"):
            scaled = (logits - logits.max(axis=0)) / self.temperature  # (V, B)
        if 0 < self.top_k < len(scaled):
            kth = np.partition(scaled, -self.top_k, axis=0)[-self.top_k]  # (B,)
            scaled[scaled < kth] = -np.inf
        if self.top_p < 1:
            self._cut_to_top_p(scaled)
        return draw(np, scaled, u)

    def _cut_to_top_p(self, scaled: np.ndarray) -> None:
        order = np.argsort(-scaled, axis=0, kind="stable")  # (V, B)
        p = np.exp(np.take_along_axis(scaled, order, axis=0))  # (V, B)
        likelier = np.cumsum(p, axis=0) - p  # (V, B): the weight of all that come before
        kept = likelier < self.top_p * p.sum(axis=0)  # (V, B); the likeliest always is
        np.put_along_axis(kept, order, kept.copy(), axis=0)
        scaled[~kept] = -np.inf


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
    B = len(generators)
    network = model.network(1, B)
    to_device, to_host = model.parameters.backend.to_device, model.parameters.backend.to_host

    def read(ids: np.ndarray) -> Array:
        with np.errstate(over="ignore", invalid="ignore"):
            logits = network.step(0, to_device(ids))  # (V, B)
        network.carry()
        return logits

    logits = network.logits[0]  # (V, B), zeros: every character as likely as another
    for k in prime:
        logits = read(np.full(B, k, dtype=np.intp))
    for i in count():
        if i % BLOCK == 0:
            u = np.stack([generator.random(BLOCK) for generator in generators], axis=1)  # (BLOCK, B)
        scores = to_host(logits).astype("float64")  # (V, B)
        if not np.isfinite(scores).all():
            raise MinicharError(
                "the model's logits are not finite: its weights are damaged, use another checkpoint"
            )
        if model.vocabulary.unknown_id is not None:
            scores[model.vocabulary.unknown_id] = -np.inf
        ids = choice.ids(scores, u[i % BLOCK])
        yield ids
        logits = read(ids)


class StopFilter:
    """Lets text through until one of the stop strings is complete.

    What might be the beginning of a stop string is held back until it is known not to be.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.held = ""
        self.stopped = False

    def push(self, character: str) -> str:
        """Take one character; return what is now sure to belong to the text."""
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


def prime_ids(model: CharRNN, prime: str, unknown: Unknown = "error") -> np.ndarray:
    """Return the ids of the prime text; a line break, if the model knows it, where nothing is left of it.

    Raises
    ------
    MinicharError
        If a character is not in the vocabulary and `unknown` is ``error``.
    """
    ids = model.vocabulary.encode(prime, unknown)
    if not len(ids) and "\n" in model.vocabulary:
        return model.vocabulary.encode("\n")
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

    The first text is the one `generate` gives for the same seed, up to rounding in the
    products of a batch. Parameters and errors as `generate`.
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
    steps = sample_ids(model, prime_ids(model, prime, unknown), choice, generators)
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
