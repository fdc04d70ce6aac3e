"""The readout, which computes the logits, the loss and its gradients block by block.

    logits = W @ [x; 1]
    p = softmax(logits)
    loss = 1/N Σ -log p[target]            nats per character, over N characters

    dlogits = (p - onehot(target)) / N
    dW = dlogits @ [x; 1]ᵀ
    dx = W_xᵀ @ dlogits

Softmax and cross-entropy are combined because their joint gradient is simple. dlogits is the gradient of the
mean loss over the N characters, which is the loss that minichar reports.

The loss is computed after all steps have run, with one matrix product per block of steps. If the model is fed
its own predictions, the logits are also computed after each step. With a large vocabulary, the logits use
more memory than any other array, so each block overwrites the logits of the previous block. Their memory use
therefore does not grow with T.
"""

from functools import cached_property
from math import prod
from types import ModuleType

import numpy as np

from minichar.devices.backend import Array, Backend, as_columns

BLOCK = 1 << 22
"""Maximum number of logits in memory at once, unless a single step has more."""


Cache = tuple[Array, Array, int]


def loss_forward(
    xp: ModuleType, logits: Array, targets: Array, N: int, numbers: Array = None
) -> tuple[Array, Cache]:
    """Return the loss as a scalar array in double precision, and the cache for `loss_backward`.

    The probabilities overwrite the logits to save memory.

    Parameters
    ----------
    logits : array, (V, m·B)
    targets : array of int, (m·B,)
    N : int
        Number of characters in the whole chunk. If the chunk is processed in blocks of m steps, the losses
        and weight gradients of the blocks add up to those of the chunk.
    numbers : array of int, (m·B,), optional
        The numbers 0, 1, 2, … of the columns, on the device of the logits.
    """
    columns = logits.shape[1]
    numbers = xp.arange(columns) if numbers is None else numbers
    # The targets' places in p, row after row. Small integers would overflow.
    at = targets.astype(np.intp, copy=False) * columns + numbers  # (m·B,)

    # Subtracting the largest logit does not change the softmax and prevents overflow in exp. The complex-step
    # check needs `.real` because complex numbers are not ordered.
    largest = logits.real.max(axis=0)  # (m·B,)
    xp.subtract(logits, largest, out=logits)
    target_logits = logits.take(at)  # (m·B,)
    p = xp.exp(logits, out=logits)  # (V, m·B)
    total = p.sum(axis=0)  # (m·B,)
    xp.divide(p, total, out=p)
    double = np.promote_types(logits.dtype, "float64")  # float32 would round a loss near 2.5 by up to 1.2e-7
    return (xp.log(total) - target_logits).sum(dtype=double) / N, (p, at, N)


def loss_backward(xp: ModuleType, cache: Cache) -> Array:
    """Overwrite p with the gradient with respect to the logits, ``(V, m·B)``, and return it."""
    p, at, N = cache
    xp.put(p, at, p.take(at) - 1.0)
    return xp.divide(p, N, out=p)


class ReadOut:
    """Readout layer: ``logits_t = W @ [x_t; 1]`` for t = 0 … T-1.

    Parameters
    ----------
    W, dW : array, (V, H+1)
        The weights, with the bias in the last column, and their gradient, computed by `loss_and_gradient`.
    T, B : int
        Maximum number of time steps in a chunk, and number of sequences.
    backend : Backend

    Attributes
    ----------
    x : array, (T, H, B)
        Inputs, filled by the network.
    dx : array, (T, H, B)
        Gradient with respect to the inputs.
    """

    def __init__(self, W: Array, dW: Array, T: int, B: int, backend: Backend) -> None:
        self.xp, self.backend = backend.xp, backend
        self.W, self.dW, self.B = W, dW, B
        V, columns = W.shape
        self.s = backend.zeros_of_steps((T, columns, B), W.dtype)  # (T, H+1, B)
        self.s[:, -1] = 1.0
        self.x = self.s[:, :-1]  # (T, H, B)
        self.block = min(T, max(1, BLOCK // (V * B)))
        self.numbers = backend.to_device(np.arange(self.block * B))  # (block·B,)

    @cached_property
    def dx(self) -> Array:
        """Gradient with respect to the inputs."""
        return self.backend.zeros_of_steps(self.x.shape, self.W.dtype)  # (T, H, B)

    @cached_property
    def workspace(self) -> Array:
        """Buffer for the logits of one block."""
        return self.backend.zeros((self.block * self.W.shape[0] * self.B,), self.W.dtype)

    def logits(self, first: int, last: int) -> Array:
        """Return the logits of steps `first` to `last` - 1, ``(V, m·B)``."""
        return self.backend.matmul(self.W, as_columns(self.s[first:last]))

    def loss_and_gradient(self, targets: Array) -> Array:
        """Return the chunk's mean loss as a scalar array, and fill `dW` and `dx` with its gradients.

        Parameters
        ----------
        targets : array of int, (n, B)
        """
        total = 0.0
        self.dW[...] = 0.0
        for steps in self.blocks(len(targets)):
            columns = as_columns(self.s[steps])  # (H+1, m·B)
            block_loss, cache = self._loss(columns, targets[steps], targets.size)
            total += block_loss
            dlogits = loss_backward(self.xp, cache)  # (V, m·B)
            self.backend.add_matmul(dlogits, columns.T, out=self.dW)
            self.backend.matmul_steps(self.W[:, :-1].T, dlogits, out=self.dx[steps])
        return total

    def measure(self, targets: Array) -> Array:
        """Return the chunk's mean loss for `targets` ``(n, B)`` as a scalar array."""
        return sum(
            self._loss(as_columns(self.s[steps]), targets[steps], targets.size)[0]
            for steps in self.blocks(len(targets))
        )

    def blocks(self, n: int) -> list[slice]:
        """Return the slice of time steps that each block covers."""
        return [slice(first, min(first + self.block, n)) for first in range(0, n, self.block)]

    def _loss(self, columns: Array, targets: Array, N: int) -> tuple[Array, Cache]:
        """Return a block's share of the mean loss over N characters, and the cache for `loss_backward`."""
        shape = self.W.shape[0], columns.shape[1]
        logits = self.backend.matmul(self.W, columns, out=self.workspace[: prod(shape)].reshape(shape))
        return loss_forward(self.xp, logits, targets.reshape(-1), N, self.numbers[: shape[1]])
