"""The readout, which computes the logits, the loss and its gradients block by block.

    logits = W @ [x; 1]

    dW = dlogits @ [x; 1]ᵀ
    dx = W_xᵀ @ dlogits

The loss is computed after all steps have run, with one matrix product per block of steps. If the model is fed
its own predictions, the logits are also computed after each step. With a large vocabulary, the logits use
more memory than any other array, so each block overwrites the logits of the previous block. Their memory use
therefore does not grow with T.
"""

from collections.abc import Iterator
from functools import cached_property
from math import prod

from minichar.devices.backend import Array, Backend, as_columns
from minichar.engine import loss

PIECE = 1 << 22
"""Maximum number of logits in memory at once, unless a single step has more."""


class ReadOut:
    """Readout layer: ``logits_t = W @ [x_t; 1]`` for t = 0 … T-1.

    Parameters
    ----------
    W, dW : array, (V, H+1)
        The weights, with the bias in the last column, and their gradient, computed by `learn`.
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
        self.piece = min(T, max(1, PIECE // (V * B)))

    @cached_property
    def dx(self) -> Array:
        """Gradient with respect to the inputs."""
        return self.backend.zeros_of_steps(self.x.shape, self.W.dtype)  # (T, H, B)

    @cached_property
    def workspace(self) -> Array:
        """Buffer for the logits of one block."""
        return self.backend.zeros((self.piece * self.W.shape[0] * self.B,), self.W.dtype)

    def logits(self, first: int, last: int) -> Array:
        """Return the logits of steps `first` to `last` - 1, ``(V, m·B)``."""
        return self.backend.matmul(self.W, as_columns(self.s[first:last]))

    def learn(self, targets: Array) -> Array:
        """Return the chunk's mean loss as a scalar array, and fill `dW` and `dx` with its gradients.

        Parameters
        ----------
        targets : array of int, (n, B)
        """
        xp, total = self.xp, 0.0
        self.dW[...] = 0.0
        for steps in self.pieces(len(targets)):
            columns = as_columns(self.s[steps])  # (H+1, m·B)
            piece_loss, cache = self._loss(columns, targets[steps], targets.size)
            total = total + piece_loss
            dlogits = loss.backward(xp, cache)  # (V, m·B)
            self.backend.add_matmul(dlogits, columns.T, out=self.dW)
            self.backend.matmul_steps(self.W[:, :-1].T, dlogits, out=self.dx[steps])
        return total

    def measure(self, targets: Array) -> Array:
        """Return the chunk's mean loss for `targets` ``(n, B)`` as a scalar array."""
        return sum(
            self._loss(as_columns(self.s[steps]), targets[steps], targets.size)[0]
            for steps in self.pieces(len(targets))
        )

    def pieces(self, n: int) -> Iterator[slice]:
        """Yield the slice of time steps that each block covers."""
        for first in range(0, n, self.piece):
            yield slice(first, min(first + self.piece, n))

    def _loss(self, columns: Array, targets: Array, N: int) -> tuple[Array, loss.Cache]:
        """Return a block's share of the mean loss over N characters, and the cache for `loss.backward`."""
        shape = self.W.shape[0], columns.shape[1]
        logits = self.backend.matmul(self.W, columns, out=self.workspace[: prod(shape)].reshape(shape))
        return loss.forward(self.xp, logits, targets.reshape(-1), N)
