"""Softmax and cross-entropy in one, since their gradient together is the simplest there is.

    p = softmax(logits)
    loss = mean over n·B characters of -log p[target]        nats per character

    dlogits = (p - onehot(target)) / (n·B)

The mean is the one reduction in the project: the gradient is the gradient of exactly
the number that is printed.
"""

from minichar.devices.backend import Array, Backend


class SoftmaxCrossEntropy:
    """The loss of a chunk.

    Parameters
    ----------
    V, T, B : int
        Vocabulary, time steps and sequences the workspace holds.
    dtype : str
    backend : Backend
    """

    def __init__(self, V: int, T: int, B: int, dtype: str, backend: Backend) -> None:
        self.xp = backend.xp
        self.workspace = backend.zeros((T * V * B,), dtype)

    def forward(self, logits: Array, targets: Array) -> Array:
        """Return the mean of -log p[target] in nats, a scalar array.

        Parameters
        ----------
        logits : array, (n, V, B)
        targets : array of int, (n, B)
        """
        xp = self.xp
        self.targets = targets[:, None, :]  # (n, 1, B)
        self.p = p = self.workspace[: logits.size].reshape(logits.shape)  # (n, V, B)

        # Softmax does not change when the largest logit is taken off all of them, and e⁰ = 1 cannot
        # overflow. `.real` because the complex-step check has complex logits, which have no order.
        largest = logits.real.max(axis=1, keepdims=True)  # (n, 1, B)
        xp.subtract(logits, largest, out=p)
        log_p_target = xp.take_along_axis(p, self.targets, axis=1)  # (n, 1, B)
        xp.exp(p, out=p)
        total = p.sum(axis=1, keepdims=True)  # (n, 1, B)
        xp.divide(p, total, out=p)
        return (xp.log(total) - log_p_target).mean()

    def backward(self) -> Array:
        """Return the gradient of the logits, ``(n, V, B)``; it takes the place of p."""
        xp, dlogits = self.xp, self.p
        p_target = xp.take_along_axis(dlogits, self.targets, axis=1)  # (n, 1, B)
        xp.put_along_axis(dlogits, self.targets, p_target - 1.0, axis=1)
        xp.divide(dlogits, self.targets.size, out=dlogits)
        return dlogits
