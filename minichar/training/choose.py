"""Choose the options that the user leaves to minichar, to suit the text and the time.

`CHOOSERS` has a function for each option, which receives the `Facts` about the text and the time, and the
settings chosen by the functions before it. Each value is a smooth or finely stepped function of the length of
the text, the number of distinct characters and the time: a text that is slightly longer is treated slightly
differently.

The values are based on the trials in docs/measured/trials.
"""

from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, log, prod
from typing import Any

from minichar.checks import AUTO
from minichar.engine.config import Config
from minichar.text.batches import Layout
from minichar.text.corpus import Corpus
from minichar.training.cost import NOMINAL, Speed
from minichar.training.recipes import RECIPES
from minichar.training.settings import Settings
from minichar.training.text import layout_of

ARCHITECTURE = ("model", "rnn_size", "num_layers", "embedding", "layer_norm", "tied")
"""Settings that, with V, determine the weights of a network."""
LARGEST_B, SMALLEST_B = 48, 4
USUAL_T, SHORTEST_T = 50, 47
CHUNKS = 100
"""Desired minimum number of chunks in a text, so that an epoch has enough steps. B is reduced to reach
this number, but not below `SMALLEST_B`."""
ALLOWED = 0.01
"""T is reduced if more than this fraction of the text would otherwise be left out of the chunks."""

SIZES = (*range(32, 256, 8), *range(256, 1025, 16))
"""Numbers of hidden units to choose from."""
H0, CHARACTERS, GROWTH = 128, 3.5e6, 1.5
"""On a long text, a model with H units needs ``CHARACTERS * (H / H0) ** GROWTH`` characters of training."""
SHORT = 20_000
"""Length of a short text."""
UNITS, EPOCHS = 208, 60
"""Useful numbers of hidden units and of epochs for `SHORT` characters. For longer texts, more units and fewer
epochs are useful. For shorter texts, the useful number of units falls faster."""
WEIGHT_DECAY, MOST_DECAY = 0.5, 0.8
"""Weight decay for `SHORT` characters, and for the shortest texts. For longer texts, less is useful."""
RARE = 40
"""Mean number of occurrences of a character below which most characters are rare. A GRU with layer
normalisation then has a lower loss than an LSTM, and the following values apply. `RARE_CHARACTERS` takes the
place of `CHARACTERS`."""
RARE_CHARACTERS, RARE_UNITS, RARE_EPOCHS, RARE_WEIGHT_DECAY, RARE_DROPOUT = 5e5, 304, 40, 0.4, 0.5
OFTEN = 2500
"""Mean number of occurrences of a character above which tied embeddings raise the loss."""
LARGE_V, D = 256, 64
"""Networks for more than `LARGE_V` distinct characters have one layer instead of two, and embeddings of size
`D`, unless tied."""

TYPICAL_PRODUCT, TYPICAL_DROPOUT, DROPOUT_SLOPE, MAX_DROPOUT = 8, 0.1, 0.1, 0.3
"""Overfitting increases with the number of weights per character of text and with the number of epochs. If
the product of both is `TYPICAL_PRODUCT`, the dropout probability is `TYPICAL_DROPOUT`. It rises by
`DROPOUT_SLOPE` for every factor of e, to at most `MAX_DROPOUT`. If a run has fewer epochs than are useful,
the probability is reduced in proportion, even if characters are rare. It is also reduced in proportion to the
square of the number of units, and so to the weights, if the user chose fewer units than minichar would."""

RATE, RATES = 8e-3, {"lstm": 2e-2, "rnn": 5e-3}
"""Learning rates. `RATES` are for models with at most two layers and without layer normalisation."""
WARMUP, LONGEST = 0.1, 200
"""Fraction of a run in which the learning rate rises, and the maximum number of steps that this takes."""
PATIENCE = 10
"""Number of evaluations without improvement after which a run ends."""
STEPS_PER_VAL_CHUNK = 8
"""Number of training steps between evaluations for each validation chunk that an evaluation uses.

Evaluating a validation chunk and a training chunk takes about as long as 0.8 training steps, so evaluations
that are at least this many steps apart take at most a tenth of the training time.
"""


@dataclass(frozen=True)
class TimeBudget:
    """The time for training steps, and the speed of the machine."""

    seconds: float
    speed: Speed = NOMINAL
    processes: int = 1  # number of processes that share the streams

    def steps(self, config: Config, B: int, T: int) -> float:
        """Return the number of training steps that fit into the time."""
        return self.seconds / self.speed.step(config, ceil(B / self.processes), T)


@dataclass(frozen=True)
class Facts:
    """The properties of the text and the run that determine the choices."""

    N: int  # length of the text
    V: int  # number of distinct characters
    from_scratch: bool  # rather than from the weights of a trained model
    layout: Callable[[int, int], Layout]  # layout(B, T), with reduced B and T if the text is short
    budget: TimeBudget

    @property
    def are_rare(self) -> bool:
        """Whether most characters are rare."""
        return self.N < RARE * self.V

    @property
    def useful_epochs(self) -> float:
        """The number of epochs that are useful."""
        return (RARE_EPOCHS if self.are_rare else EPOCHS) * (self.N / SHORT) ** -0.3

    @property
    def useful_units(self) -> float:
        """The number of hidden units that are useful."""
        return RARE_UNITS if self.are_rare else UNITS * (self.N / SHORT) ** (0.5 if self.N < SHORT else 0.25)

    def enough(self, H: int) -> float:
        """Return the number of characters of training that a model with H units needs."""
        wanted = (RARE_CHARACTERS if self.are_rare else CHARACTERS) * (H / H0) ** GROWTH
        return 1 / (1 / wanted + 1 / (self.useful_epochs * self.N))  # about the smaller number

    def longest_T(self, B: int) -> int:
        """Return the longest T, from `SHORTEST_T` to `USUAL_T`, that leaves out little of the text."""
        left_out = {T: self.layout(B, T).left_out for T in range(USUAL_T, SHORTEST_T - 1, -1)}
        enough = (T for T in left_out if left_out[T] <= ALLOWED * self.N)
        return next(enough, min(left_out, key=left_out.__getitem__))

    def reduced(self, settings: Settings) -> Settings:
        """Return the settings with B and T as they are reduced for a short text, once both are chosen."""
        if settings.batch_size is None or settings.seq_length is None:
            return settings
        layout = self.layout(settings.batch_size, settings.seq_length)
        return replace(settings, batch_size=layout.B, seq_length=layout.T)

    def steps(self, settings: Settings) -> float:
        """Return the number of training steps that fit into the time."""
        return self.budget.steps(config_of(settings, self.V), settings.batch_size, settings.seq_length)

    def epoch(self, settings: Settings) -> int:
        """Return the number of training steps per epoch."""
        return self.layout(settings.batch_size, settings.seq_length).parts[0]


def config_of(settings: Settings, V: int) -> Config:
    """Return the configuration of the network for V distinct characters."""
    return Config(V, **{name: getattr(settings, name) for name in ARCHITECTURE}, **masking(settings))


def masking(settings: Settings) -> dict[str, Any]:
    """Return the dropout and DropConnect probabilities. They are 0 until they have been chosen."""
    return {"dropout": settings.dropout or 0.0, "weight_drop": settings.weight_drop}


def facts_of(
    settings: Settings, corpus: Corpus, from_scratch: bool = True, budget: TimeBudget | None = None
) -> Facts:
    """Return the facts about a run. By default, the time is that of the recipe on the nominal machine."""

    def layout(B: int, T: int) -> Layout:
        return layout_of(corpus, replace(settings, batch_size=B, seq_length=T))

    budget = budget or TimeBudget(60 * RECIPES[settings.recipe].minutes)
    return Facts(len(corpus.ids), len(corpus.vocabulary), from_scratch, layout, budget)


def choose(
    settings: Settings,
    corpus: Corpus,
    from_scratch: bool = True,
    budget: TimeBudget | None = None,
) -> Settings:
    """Return the settings with a value for each automatic option in `CHOOSERS`.

    By default, the time is that of the recipe on the nominal machine, so that the values are the same on
    every machine.
    """
    facts = facts_of(settings, corpus, from_scratch, budget)
    for name, chooser in CHOOSERS.items():
        if getattr(settings, name) is None:
            settings = replace(settings, **{name: chooser(facts, facts.reduced(settings))})
    return settings


def choose_batch_size(facts: Facts, settings: Settings) -> int:
    """Return B, the batch size: larger for a longer text, but small enough for `CHUNKS` chunks."""
    T = settings.seq_length
    B = min(max(facts.N // (CHUNKS * (T or USUAL_T)), SMALLEST_B), LARGEST_B)
    return facts.layout(B, T or facts.longest_T(B)).B


def choose_seq_length(facts: Facts, settings: Settings) -> int:
    """Return T, the number of time steps per chunk."""
    return facts.layout(settings.batch_size, facts.longest_T(settings.batch_size)).T


def choose_rnn_size(facts: Facts, settings: Settings) -> int:
    """Return H, the number of hidden units per layer: the most that are useful and leave enough time."""

    def suits(H: int) -> bool:
        sized = replace(settings, rnn_size=H)
        sized = replace(sized, embedding=choose_embedding(facts, sized))
        characters = facts.steps(sized) * sized.batch_size * sized.seq_length
        return characters >= facts.enough(H) and facts.useful_units >= H

    # If a size does not suit, no larger one does.
    return SIZES[max(bisect(SIZES, False, key=lambda H: not suits(H)) - 1, 0)]


def choose_embedding(facts: Facts, settings: Settings) -> int:
    """Return the size of the embedding: H if it is tied, 0 for one-hot inputs."""
    if settings.embedding is not None:
        return settings.embedding
    if settings.tied:
        return settings.rnn_size
    return D if facts.V > LARGE_V else 0


def choose_max_epochs(facts: Facts, settings: Settings) -> float:
    """Return the number of useful epochs that fit into the time, to three significant digits."""
    useful = facts.useful_epochs * facts.N / (settings.batch_size * settings.seq_length)
    return float(f"{min(facts.steps(settings), useful) / facts.epoch(settings):.3g}")


def choose_dropout(facts: Facts, settings: Settings) -> float:
    """Return the dropout probability, to two decimal places."""
    complete = min(settings.max_epochs / facts.useful_epochs, 1.0)
    suitable = choose_rnn_size(facts, replace(settings, embedding=AUTO))
    complete *= min(settings.rnn_size / suitable, 1.0) ** 2
    if facts.are_rare:
        return round(RARE_DROPOUT * complete, 2)
    weights = sum(map(prod, config_of(settings, facts.V).shapes().values()))
    chance = TYPICAL_DROPOUT + DROPOUT_SLOPE * log(weights / facts.N * settings.max_epochs / TYPICAL_PRODUCT)
    return round(min(max(chance, 0.0), MAX_DROPOUT) * complete, 2)


def choose_weight_decay(facts: Facts, settings: Settings) -> float:
    """Return the weight decay: none for fine-tuning, because it would also shrink the original weights."""
    if not facts.from_scratch:
        return 0.0
    if facts.are_rare:
        return RARE_WEIGHT_DECAY
    return round(min(WEIGHT_DECAY * (facts.N / SHORT) ** -0.6, MOST_DECAY), 3)


def choose_learning_rate(facts: Facts, settings: Settings) -> float:
    """Return the learning rate, to two significant digits."""
    if settings.num_layers > 2 or settings.layer_norm or not facts.from_scratch:
        return RATE
    rate = RATES.get(settings.model, RATE)
    if settings.model == "lstm":
        rate *= (H0 / settings.rnn_size) ** 0.75 * (settings.batch_size / LARGEST_B) ** 0.2
    return float(f"{rate:.2g}")


def choose_warmup(facts: Facts, settings: Settings) -> float:
    """Return the fraction of the run in which the learning rate rises, to three significant digits."""
    steps = settings.max_epochs * facts.epoch(settings)
    return float(f"{min(WARMUP, LONGEST / steps):.3g}")


def choose_max_val_chunks(facts: Facts, settings: Settings) -> int:
    """Return the maximum number of validation chunks.

    If the evaluation interval is automatic, the number is chosen as if there were an evaluation after each
    epoch or, if the run is shorter than an epoch, at its end.
    """
    every = settings.eval_val_every or int(min(settings.max_epochs, 1.0) * facts.epoch(settings))
    return max(1, every // STEPS_PER_VAL_CHUNK)


CHOOSERS: dict[str, Callable[[Facts, Settings], Any]] = {
    # Only a GRU for rare characters is normalised.
    "layer_norm": lambda facts, settings: settings.model is None and facts.are_rare,
    "model": lambda facts, settings: "gru" if settings.layer_norm and facts.are_rare else "lstm",
    "num_layers": lambda facts, settings: 1 if facts.V > LARGE_V else 2,
    "tied": lambda facts, settings: settings.embedding is None and facts.N < OFTEN * facts.V,
    "batch_size": choose_batch_size,
    "seq_length": choose_seq_length,
    "rnn_size": choose_rnn_size,
    "embedding": choose_embedding,
    "max_epochs": choose_max_epochs,
    "dropout": choose_dropout,
    "weight_decay": choose_weight_decay,
    "learning_rate": choose_learning_rate,
    "warmup": choose_warmup,
    "patience": lambda facts, settings: PATIENCE,
    "max_val_chunks": choose_max_val_chunks,
}
"""The functions that choose each option, in order."""


def automatic_in(settings: Settings) -> tuple[str, ...]:
    """Return the names of the settings that must be chosen before training but have no value yet."""
    return tuple(name for name in CHOOSERS if getattr(settings, name) is AUTO)
