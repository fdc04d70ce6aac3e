"""Advice on model size and losses, based on char-rnn's README."""

OVERFITTING = 0.15
"""Gap between validation and training loss, in nats, above which a model is overfitting."""
UNDERFITTING = 0.02
"""Gap between validation and training loss, in nats, below which a model may be underfitting."""
PLATEAU = 0.002
"""Improvement in validation loss, in nats, below which the loss has plateaued."""
FEW_UPDATES = 500
"""Number of training steps below which most models learn almost nothing."""


def size_advice(parameters: int, characters: int) -> str:
    """Return advice on the model size, given the number of training characters.

    char-rnn recommends that `parameters` and `characters` be of the same order of magnitude.
    """
    ratio = parameters / characters
    if ratio > 4:
        return "large for this text: try --dropout 0.5 or a smaller --rnn-size"
    if ratio < 1 / 10:
        return "small for this text: a larger --rnn-size may reach a lower loss, but is slower"
    return "size suits this text"


def updates_advice(updates: int) -> str:
    """Return advice for a run with too few training steps, or an empty string."""
    if updates >= FEW_UPDATES:
        return ""
    return f"only {updates:,} steps: raise --max-epochs or lower --batch-size/--seq-length"


def fit_advice(train_loss: float, val_loss: float, before: float = float("inf")) -> str:
    """Return advice on overfitting or underfitting, or an empty string.

    Parameters
    ----------
    train_loss, val_loss : float
        Losses in nats per character. Both are measured without dropout or scheduled sampling, which
        would raise the training loss.
    before : float
        Lowest validation loss of all previous evaluations.
    """
    gap = val_loss - train_loss
    if gap > OVERFITTING:
        return f"overfitting (gap {gap:.2f}): try --dropout or a smaller --rnn-size"
    if gap < UNDERFITTING and before - val_loss < PLATEAU:
        return "plateau: stop, or try a larger --rnn-size or another learning rate"
    if gap < UNDERFITTING:
        return "underfitting: train longer, then try a larger --rnn-size"
    return ""
