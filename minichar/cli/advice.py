"""A coach's words about sizes and losses, after the advice in char-rnn's README."""

OVERFITTING = 0.15
"""A validation loss this many nats above the training loss says that the model learns by heart."""
UNDERFITTING = 0.02
"""Losses closer than this many nats say that the model could learn more."""
LEVEL = 0.002
"""A validation loss that falls by less than this many nats between two measurements stays where it is."""
FEW_UPDATES = 500
"""With fewer steps than this, hardly any network learns anything."""


def size_advice(parameters: int, characters: int) -> str:
    """Say how the number of parameters suits the number of characters to learn from.

    char-rnn's rule: the two should be of about the same order of magnitude.
    """
    ratio = parameters / characters
    if ratio > 4:
        return "many more parameters, it may learn them by heart; --dropout 0.5 or a smaller --rnn-size helps"
    if ratio < 1 / 10:
        return "far fewer parameters, a larger --rnn-size would learn more, in more time"
    return "parameters of the same order, as it should be"


def updates_advice(updates: int) -> str:
    """Say what to do if a run is to change its weights only a few times; else nothing."""
    if updates >= FEW_UPDATES:
        return ""
    return (
        f"only {updates:,} updates in all: more --max-epochs, or a smaller --batch-size or --seq-length, help"
    )


def fit_advice(train_loss: float, val_loss: float, before: float = float("inf")) -> str:
    """Say what it tells when the two losses part or stay together; else nothing.

    All in nats per character, and measured alike: a training loss with dropout or scheduled
    sampling is higher for that alone. `before` is the lowest validation loss of earlier measurements.
    """
    gap = val_loss - train_loss
    if gap > OVERFITTING:
        return f"overfitting: validation {gap:.2f} above training; --dropout or a smaller --rnn-size helps"
    if gap < UNDERFITTING and before - val_loss < LEVEL:
        return "level: it may have learned all there is; if not, a larger --rnn-size or another rate helps"
    if gap < UNDERFITTING:
        return "underfitting: training and validation stay together; more epochs, then a larger --rnn-size"
    return ""
