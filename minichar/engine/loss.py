"""Softmax and cross-entropy, combined because their joint gradient is simple.

    p = softmax(logits)
    loss = 1/N Σ -log p[target]            nats per character, over N characters

    dlogits = (p - onehot(target)) / N

dlogits is the gradient of the mean loss over the N characters, which is the loss that minichar reports.
"""

from types import ModuleType

import numpy as np

from minichar.devices.backend import Array

Cache = tuple[Array, Array, int]


def forward(xp: ModuleType, logits: Array, targets: Array, N: int) -> tuple[Array, Cache]:
    """Return the loss as a scalar array in double precision, and the cache for `backward`.

    The probabilities overwrite the logits to save memory: with a large vocabulary, the logits are by
    far the largest arrays in a chunk.

    Parameters
    ----------
    logits : array, (V, m·B)
    targets : array of int, (m·B,)
    N : int
        Number of characters in the whole chunk. If the chunk is processed in blocks of m steps, the losses
        and weight gradients of the blocks add up to those of the chunk.
    """
    columns = logits.shape[1]
    at = targets * columns + xp.arange(columns)  # (m·B,): where the targets' logits are in memory

    # Subtracting the largest logit does not change the softmax and prevents overflow in exp. The complex-step
    # check needs `.real` because complex numbers are not ordered.
    largest = logits.real.max(axis=0)  # (m·B,)
    xp.subtract(logits, largest, out=logits)
    target_logits = logits.reshape(-1).take(at)  # (m·B,)
    p = xp.exp(logits, out=logits)  # (V, m·B)
    total = p.sum(axis=0)  # (m·B,)
    xp.divide(p, total, out=p)
    double = np.promote_types(logits.dtype, "float64")  # float32 would round a loss near 2.5 by up to 1.2e-7
    return (xp.log(total) - target_logits).sum(dtype=double) / N, (p, at, N)


def backward(xp: ModuleType, cache: Cache) -> Array:
    """Overwrite p with the gradient with respect to the logits, ``(V, m·B)``, and return it."""
    p, at, N = cache
    flat = p.reshape(-1)  # (V·m·B,)
    xp.put(flat, at, flat.take(at) - 1.0)
    return xp.divide(p, N, out=p)
