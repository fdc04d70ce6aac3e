"""The input of the first layer: a character, which picks a column.

    a ← a + Wx @ onehot(k)        which is column k of Wx

    dWx[:, k] = Σ da              over the steps and sequences whose character is k

The one-hot vectors are never built in the forward pass.
"""

from minichar.devices.backend import Array, Backend


class OneHot:
    """``Wx @ onehot(ids)``.

    Parameters
    ----------
    Wx, dWx : array, (G, V)
        A column for each character, and where its gradient goes.
    B : int
        Sequences in the batch.
    backend : Backend
    """

    def __init__(self, Wx: Array, dWx: Array, B: int, backend: Backend) -> None:
        self.backend = backend
        self.Wx, self.dWx = Wx, dWx
        self.picked = backend.zeros((Wx.shape[0], B), Wx.dtype)  # (G, B)

    def pick(self, ids: Array) -> Array:
        """Return the columns of the characters `ids` ``(B,)``, ``(G, B)``."""
        self.backend.take_columns(self.Wx, ids, out=self.picked)
        return self.picked

    def weight_gradient(self, ids: Array, da: Array) -> None:
        """Sum the columns of `da` ``(G, n·B)`` into those of the characters `ids` ``(n, B)``."""
        self.backend.sum_columns(da, ids.reshape(-1), out=self.dWx)
