"""Generate text by sampling one character at a time and feeding it back to the model.

    logits ← network(last character)
    next character ~ softmax(logits / temperature), filtered (`minichar.sampling.choice`)

Generation runs the same network as training, on a batch of streams (`minichar.sampling.streams`).
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated, Literal, get_args

import numpy as np

from minichar.checks import (
    OR_AUTO,
    at_least,
    between,
    check,
    checked,
    declared,
    documented,
    one_of,
    option,
    rule,
)
from minichar.devices.cpu import host_generator
from minichar.model import CharRNN
from minichar.sampling.blocks import sample_blocks
from minichar.sampling.choice import Choice, sampling
from minichar.sampling.streams import Stream, Streams
from minichar.text.vocabulary import Vocabulary

Unknown = Literal["error", "skip", "unk"]
STREAM = 2
"""Combined with the seed. Initialisation and training use other values, so their random numbers differ."""
MAX_SAMPLES = 4096
SEEDS = 1_000_000
"""Number of possible random seeds, kept small so that seeds are easy to type."""
BELOW_2_63 = rule(lambda length: length < 2**63, "below 2**63")
prompt, ending = (partial(option, heading, common=True) for heading in ("Prompt", "Length"))


@documented
@dataclass(frozen=True, kw_only=True)
class Generation(Choice):
    """The table of options for generating text.

    The options of ``minichar sample``, `minichar.Model.stream`, ``POST /api/generate`` and the ``llm`` plugin
    are derived from it. They change only some defaults and limits.

    Raises
    ------
    MinicharError
        If a value has the wrong type or is out of range.
    """

    seed: Annotated[int, OR_AUTO, at_least(0)] = sampling(
        123, "Random seed. The same seed gives the same text. auto: a new seed for each text."
    )
    prime: str = prompt("", "Text to continue.", "TEXT")
    unknown: Annotated[str, one_of(get_args(Unknown))] = prompt(
        "error",
        "How to handle prompt characters outside the vocabulary. error: fail; skip: do not feed "
        "them to the model; unk: use the unknown token of a model trained with --min-freq.",
    )
    length: Annotated[int, at_least(0), BELOW_2_63] = ending(
        2000, "Number of characters to generate. 0: no limit.", "N"
    )
    stop: tuple[str, ...] = ending(
        (), "One or more strings before which generation stops.", "STR", escaped=True
    )

    def __post_init__(self) -> None:
        check(self, Generation)
        if self.seed is None:
            object.__setattr__(self, "seed", secrets.randbelow(SEEDS))

    @property
    def choice(self) -> Choice:
        """The options for sampling one character."""
        return Choice(**{name: getattr(self, name) for name in declared(Choice)})


def sample_ids(
    model: CharRNN,
    prime: np.ndarray,
    choice: Choice,
    generators: Sequence[np.random.Generator],
    length: int = 0,
) -> Iterator[np.ndarray]:
    """Return an iterator that yields the id of each stream's next character, ``(B,)``.

    Ids are sampled in blocks on a GPU (`minichar.sampling.blocks`) and one step at a time on other devices.
    The ids `prime` ``(N,)`` are fed to every stream first, starting from a zero state. Without them, the
    first character is drawn uniformly. Each of the B streams has its own generator, so that the streams are
    independent. `length` is the number of characters per stream; 0 for no limit.
    """
    if model.parameters.backend.samples_in_blocks:
        return sample_blocks(model, prime, choice, generators, length)
    return islice(sample_steps(model, prime, choice, generators), length or None)


def sample_steps(
    model: CharRNN, prime: np.ndarray, choice: Choice, generators: Sequence[np.random.Generator]
) -> Iterator[np.ndarray]:
    """Sample on the host and yield the id of each stream's next character, ``(B,)``, indefinitely."""
    streams = Streams(model, len(generators))
    for generator in generators:
        streams.join(Stream(prime, choice, generator))
    while True:
        _, ids, _ = streams.step()
        if len(ids):
            yield ids


class StopFilter:
    """Filter that truncates the text before the first of the stop strings `stops`.

    A possible prefix of a stop string is buffered in `held` until later characters rule it out. If several
    stop strings end at the same character, the longest one takes precedence, and `stopped` becomes True.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = sorted((stop for stop in stops if stop), key=len, reverse=True)
        self.beginnings = {stop[0] for stop in self.stops}
        self.held = ""
        self.stopped = False

    def push(self, character: str) -> str:
        """Add one character and return the text that can no longer be part of a stop string."""
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
        """Return the buffered text at the end of generation."""
        text, self.held = self.held, ""
        return text


def prime_ids(vocabulary: Vocabulary, prime: str, unknown: str = "error", reset_on: str = "") -> np.ndarray:
    """Return the ids of the prompt, `prime`.

    If `prime` is empty, `reset_on` is used instead, so that generation starts at the beginning of a
    document. If `prime` and `reset_on` are both empty, a newline is used, provided that the vocabulary
    contains one. An unknown character raises a `MinicharError` if `unknown` is ``error``.
    """
    ids = vocabulary.encode(prime, unknown)
    newline = "\n" if "\n" in vocabulary else ""
    return ids if len(ids) else vocabulary.encode(reset_on or newline)


def generate_many(model: CharRNN, num_samples: int, options: Generation) -> Iterator[list[str]]:
    """Generate samples in one batch, and yield the new text of each, without the prompt, at every step.

    With the same seed, the first sample equals the output of `generate`: exactly for an exact model
    (`CharRNN.exact`), otherwise up to rounding in the matrix products.

    Raises
    ------
    MinicharError
        If the prompt has unknown characters and `unknown` is ``error``, or `num_samples` is out of range.
    """
    num_samples = checked("num_samples", num_samples, int, between(1, MAX_SAMPLES))
    characters = model.vocabulary.characters
    generators = [host_generator(options.seed, STREAM, i) for i in range(num_samples)]
    filters = [StopFilter(options.stop) for _ in range(num_samples)]
    encoded = prime_ids(model.vocabulary, options.prime, options.unknown, model.reset_on)

    def steps() -> Iterator[list[str]]:
        for ids in sample_ids(model, encoded, options.choice, generators, options.length):
            yield ["" if f.stopped else f.push(characters[k]) for f, k in zip(filters, ids, strict=True)]
            if all(f.stopped for f in filters):
                return
        yield [f.end() for f in filters]

    return steps()


def generate(model: CharRNN, options: Generation) -> Iterator[str]:
    """Yield the text of one sample as it is generated."""
    return (piece for (piece,) in generate_many(model, 1, options))
