"""Search terms that should lead to a chapter or a guide, even if other pages also contain them."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

TERMS = {
    "guess_the_next_letter": ("language model", "bigram", "n-gram"),
    "one_weight": ("chain rule", "gradient descent"),
    "gradient_check": ("central difference", "numerical gradient"),
    "tanh_and_sigmoid": ("tanh", "sigmoid"),
    "complex_step": ("complex-step differentiation", "complex-step derivative"),
    "softmax_cross_entropy": ("softmax", "cross-entropy"),
    "linear_layer": ("matrix product", "linear layer"),
    "rnn_step": ("RNN", "hidden state"),
    "through_time": ("backpropagation through time", "BPTT"),
    "truncation": ("truncated backpropagation through time", "truncated BPTT"),
    "vanishing_and_exploding": ("vanishing gradient", "exploding gradient", "gradient clipping"),
    "lstm": ("LSTM", "forget gate", "input gate", "output gate", "cell state"),
    "gru": ("GRU", "reset gate", "update gate"),
    "initialisation_and_layer_norm": ("initialisation", "layer normalisation"),
    "dropout": ("dropout",),
    "scheduled_sampling": ("scheduled sampling", "teacher forcing"),
    "rmsprop": ("RMSprop", "learning rate"),
    "sampling_and_temperature": ("temperature", "top-k", "top-p", "entropy"),
    "it_writes": ("training loop", "overfitting", "epoch"),
}
"""Search terms, by lesson name."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
TABLE = "coming-from"
"""A guide that mentions most options, but explains none."""


@cache
def options_of_guides(folder: Path) -> dict[str, list[str]]:
    """Return the options for which each guide in `folder`, by name, is the one that mentions them most."""
    paths = sorted(path for path in folder.glob("*.md") if path.stem != TABLE)
    counts = {path.stem: Counter(OPTION.findall(path.read_text(encoding="utf-8"))) for path in paths}
    found: dict[str, list[str]] = {name: [] for name in counts}
    for option in sorted(set().union(*counts.values())):
        found[max(counts, key=lambda name: counts[name][option])].append(option)
    return found


def directive(terms: Iterable[str]) -> str:
    """Return an index directive. The search ranks index entries above all other matches."""
    return "```{index} " + ", ".join(f"! {term}" for term in terms) + "\n```"
