"""A linear layer over time: one product a step, one product for the gradient of a whole chunk.

s = [x; 1]                    the inputs with a one below, so the bias is W's last column
a = W @ s  (+ Wx @ onehot(k)  where the layer reads characters)

dx = Wᵀ @ da                  without the bias column
dW = Σ_t da_t @ s_tᵀ          one product over all T·B columns
"""

from functools import cached_property

from minichar.backend import Array, Backend
from minichar.engine.onehot import OneHot


class Linear:
    """``a_t = W @ [x_t; 1]`` for t = 0 … T-1, with a character's column added in the first layer.

    Parameters
    ----------
    W, dW : array, (G, K+1)
        The weights, bias last, and where their gradient goes.
    T, B : int
        Time steps and sequences the workspaces hold.
    backend : Backend
    onehot : OneHot, optional
        The weights of a character input, `G` rows.

    Attributes
    ----------
    x : array, (T+1, K, B)
        The inputs, written here by whoever makes them. The extra step at the end is
        for a recurrent layer: the hidden state that step T-1 leaves is input T.
    a, da : array, (T, G, B)
        The pre-activations and their gradient.
    dx : array, (T, K, B)
        The gradient of the inputs.
    """

    def __init__(
        self, W: Array, dW: Array, T: int, B: int, backend: Backend, onehot: OneHot | None = None
    ) -> None:
        self.xp = backend.xp
        self.W, self.dW, self.onehot = W, dW, onehot
        G, columns = W.shape
        self.s = backend.zeros((T + 1, columns, B), W.dtype)  # (T+1, K+1, B)
        self.s[:, -1] = 1.0
        self.x = self.s[:, :-1]  # (T+1, K, B)
        self.a = backend.zeros((T, G, B), W.dtype)  # (T, G, B)

    # What only the backward pass needs is made when it first runs: sampling never asks for it.
    @cached_property
    def da(self) -> Array:
        """Gradient of the pre-activations."""
        return self.xp.zeros_like(self.a)  # (T, G, B)

    @cached_property
    def dx(self) -> Array:
        """Gradient of the inputs."""
        return self.xp.zeros_like(self.x[:-1])  # (T, K, B)

    def step(self, t: int, ids: Array | None = None) -> Array:
        """Return ``a[t] = W @ [x[t]; 1]``, ``(G, B)``, plus the columns of the characters `ids` ``(B,)``."""
        a = self.xp.matmul(self.W, self.s[t], out=self.a[t])  # (G, B)
        if self.onehot is not None:
            a += self.onehot.pick(ids)
        return a

    def step_backward(self, t: int) -> Array:
        """Return ``dx[t] = Wᵀ @ da[t]``, ``(K, B)``."""
        return self.xp.matmul(self.W[:, :-1].T, self.da[t], out=self.dx[t])

    def weight_gradient(self, n: int, ids: Array | None = None) -> None:
        """``dW = Σ_t da[t] @ s[t]ᵀ`` over the first `n` steps, which read the characters `ids` ``(n, B)``."""
        da = as_columns(self.da[:n])  # (G, n·B)
        self.xp.matmul(da, as_columns(self.s[:n]).T, out=self.dW)
        if self.onehot is not None:
            self.onehot.weight_gradient(ids, da)


def as_columns(run: Array) -> Array:
    """Lay a run over time ``(n, K, B)`` out as one matrix ``(K, n·B)``, a column a character."""
    return run.transpose(1, 0, 2).reshape(run.shape[1], -1)
