"""Advice on model size and losses, after the README of char-rnn."""

OVERFITTING = 0.15
"""A validation loss this many nats above the training loss means overfitting."""
UNDERFITTING = 0.02
"""Losses closer than this many nats mean that a larger model would do better."""
LEVEL = 0.002
"""The validation loss is level when it falls by less than this many nats between two evaluations."""
FEW_UPDATES = 500
"""Almost no network learns anything in fewer training steps."""


def size_advice(parameters: int, characters: int) -> str:
    """Return how the number of parameters compares with the number of training characters.

    char-rnn's rule: both should be of the same order of magnitude.
    """
    ratio = parameters / characters
    if ratio > 4:
        return "large for this text: try --dropout 0.5 or a smaller --rnn-size"
    if ratio < 1 / 10:
        return "small for this text: a larger --rnn-size learns more but takes longer"
    return "size suits this text"


def updates_advice(updates: int) -> str:
    """Return advice for a run with few training steps; else an empty string."""
    if updates >= FEW_UPDATES:
        return ""
    return f"only {updates:,} steps: raise --max-epochs or lower --batch-size, --seq-length"


def fit_advice(train_loss: float, val_loss: float, before: float = float("inf")) -> str:
    """Return advice on overfitting or underfitting; an empty string if there is neither.

    Parameters
    ----------
    train_loss, val_loss : float
        In nats per character, both measured without dropout and scheduled sampling, which raise a
        training loss.
    before : float
        The lowest validation loss of earlier evaluations.
    """
    gap = val_loss - train_loss
    if gap > OVERFITTING:
        return f"overfitting (gap {gap:.2f}): try --dropout or a smaller --rnn-size"
    if gap < UNDERFITTING and before - val_loss < LEVEL:
        return "level: training is done, or needs a larger --rnn-size or another rate"
    if gap < UNDERFITTING:
        return "underfitting: train longer, then try a larger --rnn-size"
    return ""
