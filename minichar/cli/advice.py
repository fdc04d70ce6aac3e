"""Advice on losses."""

from minichar.errors import counted
from minichar.text.ngram import Yardstick
from minichar.training.choose import USUAL_T

LARGE_RATIO = 4.0
"""Number of parameters per training character above which a model is large for its text."""
OVERFITTING = 0.15
"""Gap between validation and training loss, in nats, above which a model is overfitting."""
SMALL_GAP = 0.02
"""Gap between validation and training loss, in nats, below which more training or a larger model may help."""
STALE = 3
"""Number of evaluations without a new lowest validation loss after which the loss is on a plateau."""
EARLY = 0.1
"""Fraction of a run, at its start, in which overfitting is not reported: the learning rate is still high."""
MUCH_DROPOUT = 0.25
"""Dropout probability at or above which more is not recommended against overfitting. A smaller model is never
recommended, because it usually has a higher validation loss (docs/measured/trials/helps.csv)."""
NEGLIGIBLE = 0.01
"""Validation loss, in nats, below which there is nothing left to learn."""
TOO_SHORT = 5000
"""Number of characters below which a text is too short: a model learns little from it, and the loss on the
few held-out characters is inaccurate."""
FEW_HELD_OUT = 250
"""Number of held-out characters below which their loss is too inaccurate to compare with the yardstick."""
FEW_UPDATES = 500
"""Number of training steps below which most models learn almost nothing."""


def length_advice(N: int) -> list[str]:
    """Return a line of advice if a text of N characters is too short."""
    return [f"the text is very short: use at least {TOO_SHORT:,} characters"] if N < TOO_SHORT else []


def updates_advice(updates: int, B: int, T: int) -> str:
    """Return advice for a run with too few training steps, or an empty string.

    If minichar chose the batch size, pass 1 as B: a smaller one would not help.
    """
    if updates >= FEW_UPDATES:
        return ""
    smaller = ""
    if T > USUAL_T:
        smaller = " or reduce --seq-length"
    elif B > 1:
        smaller = " or reduce --batch-size"
    return f"only {counted(updates, 'training step')}: increase --max-epochs{smaller}"


def fit_advice(
    train_loss: float,
    val_loss: float,
    *,
    since_best: int,
    updates: int,
    total: int,
    ratio: float,
    dropout: float,
) -> str:
    """Return advice on overfitting or on a plateau, or an empty string.

    The losses, in nats per character, are measured with the same weights and without dropout or scheduled
    sampling, which would raise the training loss. `since_best` is the number of evaluations since the one
    with the lowest validation loss, `updates` and `total` are the training steps so far and in the whole run,
    and `ratio` is the number of parameters per training character.
    """
    gap = val_loss - train_loss
    if since_best < STALE:
        return ""
    if gap > OVERFITTING and updates >= EARLY * total:
        more = "" if dropout >= MUCH_DROPOUT else "more --dropout or "
        return f"overfitting (gap {gap:.2f}): try {more}more text"
    if gap >= SMALL_GAP or val_loss < NEGLIGIBLE or updates < max(total / 2, FEW_UPDATES):
        return ""
    larger = "" if ratio > LARGE_RATIO else "a larger --rnn-size or "
    return f"plateau: stop, or try {larger}another learning rate"


def verdict(loss: float, characters: int, yardstick: Yardstick, uniform: float) -> list[str]:
    """Return a line that says whether the loss on held-out characters is good; a second one if it is unclear.

    A good loss is almost 0, or below the yardstick and the uniform baseline.
    """
    loss = round(loss, 4)  # as in file names
    if loss < NEGLIGIBLE:
        return [f"good: loss {loss:.3f}, almost zero"]
    bar, name = yardstick.loss, f"yardstick of {yardstick}"
    if uniform < bar:  # of a very short text
        bar, name = uniform, f"uniform baseline of {uniform:.3f}"
    gap = loss - bar
    result = f"loss {loss:.3f}, {abs(gap):.3f} {'below' if gap < 0 else 'above'} the {name}"
    if characters < FEW_HELD_OUT:
        return [f"unclear: {result}", f"measured on only {counted(characters, 'held-out character')}"]
    return [f"{'good' if gap < 0 else 'not good yet'}: {result}"]
