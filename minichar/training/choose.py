"""Choose the options that the user leaves to minichar, to suit the text.

`CHOOSERS` has a function for each option. It receives the `Facts` about the text and the settings, in which
the options that precede it in the table have been chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from minichar.text.batches import Split
from minichar.text.corpus import Corpus
from minichar.training.settings import Settings
from minichar.training.text import lay_out

LARGEST_B, SMALLEST_B = 50, 4
USUAL_T, SHORTEST_T = 50, 25
CHUNKS = 100
"""Desired minimum number of chunks in a text, so that an epoch has enough steps. B is reduced to reach
this number, but not below `SMALLEST_B`."""
ALLOWED, MOST = 0.01, 0.02
"""T is reduced if more than `ALLOWED` of the text would otherwise be left out of the chunks. If B is
`SMALLEST_B` and more than `MOST` would still be left out, a few larger values of B are tried too."""

SHORT, DROPOUT = 100_000, 0.5
"""Models quickly overfit short texts, so dropout is `DROPOUT` for texts of up to `SHORT` characters."""
WEIGHT_DECAY, RARE_WEIGHT_DECAY = 0.2, 0.4
"""Weight decay for short texts. `RARE_WEIGHT_DECAY` is used if many characters are rare."""
SMALL_H, LARGE_H, RARE_H = 128, 256, 384
"""Hidden units per layer. With dropout, larger models have lower losses on short texts, so `LARGE_H` is used,
or `RARE_H` if many characters are rare."""
WARMUP, GATED = 0.1, ("lstm", "gru")
"""Fraction of a run spent on warm-up. The cells in `GATED` do better on short texts without warm-up."""
RATE, RATES = 8e-3, {"lstm": 2e-2, "rnn": 5e-3}
"""Learning rates. `RATES` are for small models without layer normalisation, trained on long texts."""
LARGE_V, D = 256, 64
"""Vocabularies of more than `LARGE_V` characters use embeddings of size `D`, unless tied. On short texts with
that many distinct characters (`has_rare_characters`), a GRU with layer normalisation has a lower loss than an
LSTM."""

MANY, PATIENCE = 5_000_000, 10
"""For texts of up to `MANY` characters, a run ends after `PATIENCE` evaluations without improvement. By
default, a run on a longer text takes at most two epochs, so it does not need to end early."""

STEPS, SHORT_STEPS = 2500, 5000
"""Default number of training steps. `SHORT_STEPS` is for short texts: dropout and weight decay slow down
learning but prevent overfitting, so more epochs help."""
STEPS_PER_VAL_CHUNK = 8
"""Number of training steps between evaluations, per validation chunk.

Evaluating a validation chunk and a training chunk takes about as long as 0.8 training steps, so evaluations
that are at least this many steps apart take at most a tenth of the training time.
"""


@dataclass(frozen=True)
class Facts:
    """What the choices depend on.

    Attributes
    ----------
    N, V : int
        Length of the text and number of distinct characters.
    from_scratch : bool
        Whether training starts from random weights, rather than from those of a trained model.
    split : callable
        ``split(B, T)`` splits the text into chunks, after reducing B and T if the text is short.
    """

    N: int
    V: int
    from_scratch: bool
    split: Callable[[int, int], Split]

    @property
    def is_short(self) -> bool:
        """Whether models quickly overfit the text."""
        return self.N <= SHORT

    @property
    def has_rare_characters(self) -> bool:
        """Whether many characters are rare: the text is short, but has many distinct characters."""
        return self.is_short and self.V > LARGE_V

    @property
    def steps(self) -> int:
        """The default number of training steps."""
        return SHORT_STEPS if self.is_short else STEPS

    def left_out(self, B: int, T: int) -> int:
        """Return the number of characters that are not in any chunk."""
        return self.split(B, T).left_out

    def longest_T(self, B: int) -> int:
        """Return the longest usual sequence length that leaves out little of the text."""
        lengths = range(USUAL_T, SHORTEST_T - 1, -1)
        enough = (T for T in lengths if self.left_out(B, T) <= ALLOWED * self.N)
        return next(enough, None) or min(lengths, key=lambda T: self.left_out(B, T))


def choose(settings: Settings, corpus: Corpus, from_scratch: bool = True) -> Settings:
    """Return the settings with a value for each automatic option in `CHOOSERS`.

    The values do not depend on measured times, so runs are reproducible.
    """

    def split(B: int, T: int) -> Split:
        return lay_out(corpus, replace(settings, batch_size=B, seq_length=T), with_resets=False)

    facts = Facts(len(corpus.ids), len(corpus.vocabulary), from_scratch, split)
    for name, chooser in CHOOSERS.items():
        if getattr(settings, name) is None:
            settings = replace(settings, **{name: chooser(facts, settings)})
    return settings


def choose_layer_norm(facts: Facts, settings: Settings) -> bool:
    """Return whether to normalise: only in the GRU that `choose_model` chooses."""
    return facts.has_rare_characters and settings.model is None


def choose_model(facts: Facts, settings: Settings) -> str:
    """Return the cell."""
    return "gru" if facts.has_rare_characters and settings.layer_norm else "lstm"


def choose_dropout(facts: Facts, settings: Settings) -> float:
    """Return the dropout probability."""
    return DROPOUT if facts.is_short else 0.0


def choose_rnn_size(facts: Facts, settings: Settings) -> int:
    """Return H, the number of hidden units per layer."""
    if not facts.is_short or not settings.dropout:
        return SMALL_H
    return RARE_H if facts.has_rare_characters else LARGE_H


def choose_weight_decay(facts: Facts, settings: Settings) -> float:
    """Return the weight decay: none for fine-tuning, because it would also shrink the original weights."""
    if not facts.is_short or not facts.from_scratch:
        return 0.0
    return RARE_WEIGHT_DECAY if facts.has_rare_characters else WEIGHT_DECAY


def choose_warmup(facts: Facts, settings: Settings) -> float:
    """Return the fraction of the run to spend on warm-up."""
    return 0.0 if facts.is_short and settings.model in GATED and facts.from_scratch else WARMUP


def choose_patience(facts: Facts, settings: Settings) -> int:
    """Return the number of evaluations without improvement that end the run; 0 for no limit."""
    return PATIENCE if facts.N <= MANY else 0


def choose_tied(facts: Facts, settings: Settings) -> bool:
    """Return whether to use the readout's weights as the embedding."""
    return facts.is_short and settings.embedding is None


def choose_embedding(facts: Facts, settings: Settings) -> int:
    """Return the size of the embedding: H if it is tied, 0 for one-hot inputs."""
    if settings.tied:
        return settings.rnn_size
    return D if facts.V > LARGE_V else 0


def choose_batch_size(facts: Facts, settings: Settings) -> int:
    """Return B, the batch size: larger for a longer text, but small enough for `CHUNKS` chunks."""
    asked = settings.seq_length
    B = min(max(facts.N // (CHUNKS * (asked or USUAL_T)), SMALLEST_B), LARGEST_B)

    def T(B: int) -> int:
        return asked or facts.longest_T(B)

    # A longer text has a larger B, which matters more than the characters that are left out.
    if B == SMALLEST_B and facts.left_out(B, T(B)) > MOST * facts.N:
        B = min(range(SMALLEST_B, 2 * SMALLEST_B), key=lambda B: facts.left_out(B, T(B)))
    return facts.split(B, T(B)).B


def choose_seq_length(facts: Facts, settings: Settings) -> int:
    """Return T, the number of time steps per chunk."""
    return facts.split(settings.batch_size, facts.longest_T(settings.batch_size)).T


def choose_learning_rate(facts: Facts, settings: Settings) -> float:
    """Return the learning rate. `RATES` is for small models without layer normalisation."""
    is_small = settings.num_layers <= 2 and settings.rnn_size <= LARGE_H
    if facts.is_short or not is_small or settings.layer_norm or not facts.from_scratch:
        return RATE
    B = facts.split(settings.batch_size, settings.seq_length).B
    return RATES.get(settings.model, RATE) if B >= LARGEST_B else RATE


def choose_max_val_chunks(facts: Facts, settings: Settings) -> int:
    """Return the maximum number of validation chunks.

    If the evaluation interval is automatic, the number is chosen as if there were an evaluation after each
    epoch and every `facts.steps` steps.
    """
    epoch = len(facts.split(settings.batch_size, settings.seq_length).train)
    return max(1, (settings.eval_val_every or min(facts.steps, epoch)) // STEPS_PER_VAL_CHUNK)


def choose_max_epochs(facts: Facts, settings: Settings) -> float:
    """Return the number of epochs in `facts.steps` training steps, rounded up unless it is below 1."""
    epochs = facts.steps / len(facts.split(settings.batch_size, settings.seq_length).train)
    return float(ceil(epochs)) if epochs > 1 else epochs


CHOOSERS: dict[str, Callable[[Facts, Settings], Any]] = {
    "layer_norm": choose_layer_norm,
    "model": choose_model,
    "dropout": choose_dropout,
    "rnn_size": choose_rnn_size,
    "weight_decay": choose_weight_decay,
    "warmup": choose_warmup,
    "patience": choose_patience,
    "tied": choose_tied,
    "embedding": choose_embedding,
    "batch_size": choose_batch_size,
    "seq_length": choose_seq_length,
    "learning_rate": choose_learning_rate,
    "max_val_chunks": choose_max_val_chunks,
    "max_epochs": choose_max_epochs,
}
"""The functions that choose each option, in order."""
