"""Softmax and cross-entropy combined, which makes the gradient simple.

    p = softmax(logits)
    loss = mean over N characters of -log p[target]        nats per character

    dlogits = (p - onehot(target)) / N

minichar always averages the loss over the N characters, so the gradient is the gradient of exactly
the value that is printed.
"""

from types import ModuleType

from minichar.devices.backend import Array

Cache = tuple[Array, Array]


def forward(xp: ModuleType, logits: Array, targets: Array) -> tuple[Array, Cache]:
    """Return the mean loss, a scalar array, and the cache for `backward`.

    The probabilities overwrite the logits, which are by far the largest arrays in a chunk if the
    vocabulary is large.

    Parameters
    ----------
    logits : array, (V, N)
    targets : array of int, (N,)
    """
    targets = targets[None]  # (1, N)

    # Subtracting the largest logit does not change the softmax and prevents overflow in exp.
    # `.real` is needed because the complex-step check has complex logits, which have no order.
    largest = logits.real.max(axis=0)  # (N,)
    xp.subtract(logits, largest, out=logits)
    target_logits = xp.take_along_axis(logits, targets, axis=0)  # (1, N)
    p = xp.exp(logits, out=logits)  # (V, N)
    total = p.sum(axis=0)  # (N,)
    xp.divide(p, total, out=p)
    return (xp.log(total) - target_logits).mean(), (p, targets)


def backward(xp: ModuleType, cache: Cache) -> Array:
    """Return the gradient of the logits, ``(V, N)``; it overwrites p."""
    p, targets = cache
    p_target = xp.take_along_axis(p, targets, axis=0)  # (1, N)
    xp.put_along_axis(p, targets, p_target - 1.0, axis=0)
    return xp.divide(p, targets.size, out=p)
