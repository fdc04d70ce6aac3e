"""The read-out: from hidden states to logits, their loss and its gradient, a piece of the chunk at a time.

    logits = W @ [x; 1]

A feed that looks at the model's predictions asks for the logits of one step. All else waits
until the chunk has been run, and is then done for many steps in one product. With a large
vocabulary the logits of a chunk are by far its largest arrays, so they are made, used and
forgotten in pieces: the memory they take does not grow with T.
"""

from collections.abc import Iterator
from functools import cached_property

from minichar.devices.backend import Array, Backend
from minichar.engine.linear import as_columns
from minichar.engine.loss import SoftmaxCrossEntropy

PIECE = 1 << 22
"""Logits that are in memory at a time, at most, and at least those of one step."""


class ReadOut:
    """``logits_t = W @ [x_t; 1]`` for t = 0 … T-1.

    Parameters
    ----------
    W, dW : array, (V, H+1)
        The weights, bias last, and where their gradient goes.
    T, B : int
        Time steps and sequences the workspaces hold.
    backend : Backend

    Attributes
    ----------
    x : array, (T, H, B)
        The inputs, written here by whoever makes them.
    dx : array, (T, H, B)
        The gradient of the inputs.
    loss : SoftmaxCrossEntropy
    """

    def __init__(self, W: Array, dW: Array, T: int, B: int, backend: Backend) -> None:
        self.xp, self.backend = backend.xp, backend
        self.W, self.dW, self.T, self.B = W, dW, T, B
        V, columns = W.shape
        self.s = backend.zeros((T, columns, B), W.dtype)  # (T, H+1, B)
        self.s[:, -1] = 1.0
        self.x = self.s[:, :-1]  # (T, H, B)
        self.piece = min(T, max(1, PIECE // (V * B)))
        self.loss = SoftmaxCrossEntropy(V, self.piece, B, str(W.dtype), backend)

    @cached_property
    def dx(self) -> Array:
        """Gradient of the inputs."""
        return self.xp.zeros_like(self.x)  # (T, H, B)

    @cached_property
    def at_a_time(self) -> Array:
        """Where the logits of a step, or of a piece, go."""
        return self.backend.zeros((self.piece * self.W.shape[0] * self.B,), self.W.dtype)

    def step(self, t: int) -> Array:
        """Return the logits of step `t`, ``(V, B)``; the next call writes over them."""
        return self.forward(t, t + 1)

    def forward(self, first: int, last: int) -> Array:
        """Return the logits of steps `first` … `last`-1, ``(V, m·B)``, step after step."""
        V, columns = self.W.shape[0], (last - first) * self.B
        self.columns = as_columns(self.s[first:last])  # (H+1, m·B)
        room = (
            self.at_a_time if last - first <= self.piece else self.backend.zeros((V * columns,), self.W.dtype)
        )
        return self.xp.matmul(self.W, self.columns, out=room[: V * columns].reshape(V, columns))

    def backward(self, first: int, last: int, dlogits: Array) -> None:
        """From the gradient of the logits that `forward` made last, ``(V, m·B)``, to dx and dW.

        Pieces come in order: the first begins dW, the others add to it.
        """
        xp, H = self.xp, self.x.shape[1]
        if first == 0:
            xp.matmul(dlogits, self.columns.T, out=self.dW)
        else:
            self.dW += xp.matmul(dlogits, self.columns.T)
        dx = xp.matmul(self.W[:, :-1].T, dlogits)  # (H, m·B)
        self.dx[first:last] = dx.reshape(H, last - first, self.B).transpose(1, 0, 2)

    def learn(self, targets: Array) -> Array:
        """Return the mean loss of the chunk, a scalar array, and leave the gradients in dW and dx.

        Parameters
        ----------
        targets : array of int, (n, B)
        """
        total = 0.0
        for first, last, share in self.pieces(len(targets)):
            total = total + share * self._loss(first, last, targets)
            dlogits = self.loss.backward()[0]  # (V, m·B)
            if share < 1:
                self.xp.multiply(dlogits, share, out=dlogits)
            self.backward(first, last, dlogits)
        return total

    def measure(self, targets: Array) -> Array:
        """Return the mean loss of the chunk, a scalar array; `targets` as in `learn`."""
        pieces = self.pieces(len(targets))
        return sum(share * self._loss(first, last, targets) for first, last, share in pieces)

    def pieces(self, n: int) -> Iterator[tuple[int, int, float]]:
        """Yield the first step of each piece of `n` steps, the one after its last, and its share of them."""
        for first in range(0, n, self.piece):
            last = min(first + self.piece, n)
            yield first, last, (last - first) / n

    def _loss(self, first: int, last: int, targets: Array) -> Array:
        # To the loss a piece is one step of m·B sequences.
        return self.loss.forward(self.forward(first, last)[None], targets[first:last].reshape(1, -1))
