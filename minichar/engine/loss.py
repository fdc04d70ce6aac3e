"""Softmax and cross-entropy in one, since their gradient together is the simplest there is.

    p = softmax(logits)
    loss = mean over N characters of -log p[target]        nats per character

    dlogits = (p - onehot(target)) / N

The mean is the one reduction in the project: the gradient is the gradient of exactly
the number that is printed.
"""

from types import ModuleType

from minichar.devices.backend import Array

Cache = tuple[Array, Array]


def forward(xp: ModuleType, logits: Array, targets: Array) -> tuple[Array, Cache]:
    """Return the mean loss, a scalar array, and what `backward` needs.

    The probabilities overwrite the logits, which with a large vocabulary are by far the largest
    arrays of a chunk.

    Parameters
    ----------
    logits : array, (V, N)
    targets : array of int, (N,)
    """
    targets = targets[None]  # (1, N)

    # Softmax does not change when the largest logit is subtracted from all of them, and e⁰ = 1 cannot
    # overflow. `.real` because the complex-step check has complex logits, which have no order.
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
