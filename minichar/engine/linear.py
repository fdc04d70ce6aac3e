"""A linear layer over time: one product a step, and one for the whole chunk where no step waits for it.

s = [x; 1]                    the inputs with a one below, so the bias is W's last column
a = W @ s  (+ Wx @ onehot(k)  where the layer reads characters)

dx = Wᵀ @ da                  without the bias column: of states step by step, since step t-1 waits for it,
                              of other inputs in one product over all T·B columns
dW = Σ_t da_t @ s_tᵀ          one product over all T·B columns
"""

from functools import cached_property

from minichar.devices.backend import Array, Backend
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
    recurrent : int
        How many of the inputs, the first ones, are states: the step before has made them.

    Attributes
    ----------
    x : array, (T+1, K, B)
        The inputs, written here by whoever makes them. The extra step at the end is
        for a recurrent layer: the hidden state that step T-1 leaves is input T.
    a : array, (T, G, B)
        The pre-activations.
    da : array, (G, B)
        The gradient of those of one step, written here before `keep` or `step_backward`.
    kept_da : array, (G, T, B)
        That of all steps, laid out as the products over a chunk read it.
    """

    def __init__(
        self,
        W: Array,
        dW: Array,
        T: int,
        B: int,
        backend: Backend,
        onehot: OneHot | None = None,
        recurrent: int = 0,
    ) -> None:
        self.xp, self.backend = backend.xp, backend
        self.W, self.dW, self.onehot, self.recurrent = W, dW, onehot, recurrent
        G, columns = W.shape
        self.s = backend.zeros((T + 1, columns, B), W.dtype)  # (T+1, K+1, B)
        self.s[:, -1] = 1.0
        self.x = self.s[:, :-1]  # (T+1, K, B)
        self.a = backend.zeros((T, G, B), W.dtype)  # (T, G, B)

    # What only the backward pass needs is made when it first runs: sampling never asks for it.
    @cached_property
    def da(self) -> Array:
        """Gradient of the pre-activations of one step."""
        return self.xp.zeros_like(self.a[0])  # (G, B)

    @cached_property
    def kept_da(self) -> Array:
        """Gradient of the pre-activations of all steps."""
        T, G, B = self.a.shape
        return self.backend.zeros((G, T, B), self.W.dtype)  # (G, T, B)

    def step(self, t: int, ids: Array | None = None) -> Array:
        """Return ``a[t] = W @ [x[t]; 1]``, ``(G, B)``, plus the columns of the characters `ids` ``(B,)``."""
        a = self.xp.matmul(self.W, self.s[t], out=self.a[t])  # (G, B)
        if self.onehot is not None:
            a += self.onehot.pick(ids)
        return a

    def keep(self, t: int) -> None:
        """Keep `da` as that of step `t`, for the products over the chunk."""
        self.kept_da[:, t] = self.da

    def step_backward(self, t: int) -> Array:
        """Keep `da` as that of step `t`; return the gradient of the states, ``(recurrent, B)``."""
        self.keep(t)
        return self.xp.matmul(self.W[:, : self.recurrent].T, self.da)

    def da_columns(self, n: int) -> Array:
        """Return the gradient of the pre-activations of the first `n` steps, ``(G, n·B)``."""
        return self.kept_da[:, :n].reshape(len(self.W), -1)

    def input_gradient(self, n: int) -> Array:
        """Return the gradient of the inputs that are no states, ``(n, K - recurrent, B)``."""
        dx = self.xp.matmul(self.W[:, self.recurrent : -1].T, self.da_columns(n))  # (K - recurrent, n·B)
        return dx.reshape(len(dx), n, self.a.shape[-1]).transpose(1, 0, 2)

    def weight_gradient(self, n: int, ids: Array | None = None) -> None:
        """``dW = Σ_t da[t] @ s[t]ᵀ`` over the first `n` steps, which read the characters `ids` ``(n, B)``."""
        da = self.da_columns(n)
        self.xp.matmul(da, as_columns(self.s[:n]).T, out=self.dW)
        if self.onehot is not None:
            self.onehot.weight_gradient(ids, da)


def as_columns(run: Array) -> Array:
    """Lay a run over time ``(n, K, B)`` out as one matrix ``(K, n·B)``, a column a character."""
    return run.transpose(1, 0, 2).reshape(run.shape[1], -1)
