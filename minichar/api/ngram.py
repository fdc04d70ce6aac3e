"""`minichar.ngram_loss`, the loss of an n-gram model."""

import numpy as np

from minichar.checks import between, checked
from minichar.errors import MinicharError
from minichar.text.ngram import N_MAX, ngram_losses
from minichar.text.vocabulary import code_points


def ngram_loss(train: str, val: str, n: int | None = None) -> float:
    """Return the loss of an n-gram model trained on one text and evaluated on another.

    The model interpolates the counts of all contexts of up to n - 1 characters with Witten-Bell smoothing
    (`minichar.text.ngram`). As in `Model.evaluate`, the first character of `val` is not predicted.

    Parameters
    ----------
    train, val : str
        The training text (at most 5 million characters are counted) and the text to predict (at most
        1 million characters are used).
    n : int, optional
        From 1 to 8. By default, the n with the lowest loss.

    Returns
    -------
    float
        In nats per character.

    Raises
    ------
    MinicharError
        If `train` is empty, `val` has fewer than two characters, or `n` is out of range.
    """
    texts = checked("train", train, str), checked("val", val, str)
    if not train or len(val) < 2:
        raise MinicharError("train must have at least one character, and val at least two")
    n_max = N_MAX if n is None else checked("n", n, int, between(1, N_MAX))
    points = np.concatenate([code_points(text) for text in texts])  # (N,)
    distinct, ids = np.unique(points, return_inverse=True)  # (V,), (N,)
    losses = ngram_losses(ids[None, : len(train)], ids[None, len(train) :], len(distinct), n_max)  # (n_max,)
    return float(losses.min() if n is None else losses[-1])
