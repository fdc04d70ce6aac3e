"""The loss of an n-gram model: a yardstick for trained models that takes seconds and needs no network.

An n-gram model predicts the next character x from h, the n - 1 characters before it, by counting.
Witten-Bell smoothing (Witten & Bell 1991, method C) interpolates the counts with the prediction from a
context that is one character shorter. The more distinct characters follow h, the less weight its counts get::

    pₙ(x | h) = (c(hx) + t(h) pₙ₋₁(x | h')) / (c(h) + t(h))        p₀ = 1/V

    c(hx)    number of times that x follows h in the training text
    c(h)     Σₓ c(hx)
    t(h)     number of distinct characters that follow h
    h'       h without its first character

If h does not occur in the training text, pₙ = pₙ₋₁ (Chen & Goodman 1998, section 2.5).
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from minichar.checks import between, check
from minichar.errors import MinicharError

N_MAX = 8
"""Largest n by default."""
MOST_COUNTED, MOST_PREDICTED = 5_000_000, 1_000_000
"""Maximum number of training characters to count, and of validation characters to predict."""
LARGEST = 100.0
"""Upper limit on a loss read from a file. No n-gram loss is larger than ln V."""

Streams = NDArray[np.integer]


@dataclass(frozen=True)
class Yardstick:
    """The n-gram model with the lowest loss on a validation text."""

    n: Annotated[int, between(1, N_MAX)]
    loss: Annotated[float, between(0, LARGEST)]  # nats per character
    counted: Annotated[int, between(1, MOST_COUNTED)]  # number of training characters counted

    def __post_init__(self) -> None:
        check(self)

    def __str__(self) -> str:
        return f"{self.loss:.3f} ({self.n}-gram)"


def yardstick(train: Streams, val: Streams, V: int, most: int = MOST_COUNTED) -> Yardstick:
    """Return the best of the n-gram models with n = 1, …, `N_MAX` (see `ngram_losses`).

    If the training text is longer, only the start of each stream is counted, `most` characters in total.
    """
    train = train[:, : max(min(most, MOST_COUNTED) // len(train), 1)]
    losses = ngram_losses(train, val, V)
    return Yardstick(int(losses.argmin()) + 1, float(losses.min()), train.size)


def yardstick_of(details: dict[str, Any]) -> Yardstick | None:
    """Return the yardstick in a model's details, or None if there is none."""
    try:
        return Yardstick(**details["yardstick"])
    except (KeyError, TypeError, MinicharError):
        return None


def ngram_losses(train: Streams, val: Streams, V: int, n_max: int = N_MAX) -> NDArray[np.float64]:
    """Return the losses of the n-gram models with n = 1, …, `n_max`, in nats per character.

    Like a network that starts from a zero state, the models do not know what precedes a stream, and they do
    not predict its first character. Only the start of each stream of a longer text is used: `MOST_COUNTED`
    training characters and `MOST_PREDICTED` validation characters in total.

    The training and validation streams have shapes (B, M) and (B', M'), with M' ≥ 2. `V` is the number of
    characters in the vocabulary.
    """
    train = train[:, : max(MOST_COUNTED // len(train), 1)]
    val = val[:, : max(MOST_PREDICTED // len(val), 2)]
    # Every character of both texts, N in all, with its position in its stream.
    x = np.concatenate([train.ravel(), val.ravel()]).astype(np.int32)  # (N,)
    position = np.concatenate([np.arange(each.size, dtype=np.int32) % each.shape[1] for each in (train, val)])
    position = np.minimum(position, n_max).astype(np.uint8)  # (N,)
    predicted = train.size + np.flatnonzero(position[train.size :])  # (N_val,)
    h = np.zeros(len(x), np.int32)  # (N,)  number of the context; the empty context is 0
    p, losses = np.full(len(predicted), 1 / V), []  # (N_val,)
    for n in range(1, n_max + 1):
        complete = position >= n - 1  # (N,)  whether the stream contains the whole context
        hx, grams = numbered(h.astype(np.int64) * V + x)  # (N,), (G,)
        c_hx = np.bincount(hx[: train.size][complete[: train.size]], minlength=len(grams))  # (G,)
        grams //= V
        context = grams.astype(np.intp, copy=False)  # (G,)
        c_h = np.bincount(context, c_hx)  # (H,)
        t_h = np.bincount(context, c_hx > 0)  # (H,)
        c, t = c_h[h[predicted]], t_h[h[predicted]]  # (N_val,) each
        known = complete[predicted] & (c > 0)  # (N_val,)
        p = np.where(known, (c_hx[hx[predicted]] + t * p) / np.maximum(c + t, 1), p)  # (N_val,)
        losses.append(np.log(1 / p).mean())
        h[1:] = hx[:-1]  # each context becomes one character longer
    return np.array(losses)


def numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Sort the keys in place; return the number of each key, ``(N,)``, and the distinct keys, ``(G,)``.

    Like ``numpy.unique`` with `return_inverse`, but uses less than half as much memory.
    """
    order = np.argsort(keys)  # (N,)
    keys.sort()
    is_new = np.append(True, keys[1:] != keys[:-1])  # (N,)
    distinct = keys[is_new]  # (G,)
    numbers = np.empty(len(order), np.int32)  # (N,)
    numbers[order] = np.cumsum(is_new, dtype=np.int32) - 1
    return numbers, distinct
