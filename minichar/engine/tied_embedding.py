"""Weight tying: the readout's weights are also the embedding (Press & Wolf 2017; Inan et al. 2017).

    E = W_xᵀ                 W_x is the readout's W without the bias
    x = E[:, k]              character k

    dE[:, k] = Σ dx          over all steps and sequences with character k
    dW_x ← dW_x + dEᵀ        the gradients of both uses

The embedding has size H and no parameters of its own. If the vocabulary is large and the text short, most
characters occur only a few times. With tied weights, input characters also train the readout, and target
characters also train the embedding.
"""

from functools import cached_property

from minichar.devices.backend import Array, Backend, as_columns


class TiedEmbedding:
    """Embedding layer that shares the weights of the readout: ``x_t = W[k_t, :-1]``.

    Parameters
    ----------
    W, dW : array, (V, H+1)
        The readout's weights, with the bias in the last column, and their gradient.
    backend : Backend
    """

    def __init__(self, W: Array, dW: Array, backend: Backend) -> None:
        self.W, self.dW, self.backend = W, dW, backend

    @cached_property
    def dE(self) -> Array:
        """The gradient with respect to E."""
        return self.backend.zeros((self.W.shape[1] - 1, len(self.W)), self.W.dtype)  # (H, V)

    def forward(self, ids: Array) -> Array:
        """Return the embeddings x ``(n, H, B)`` of the characters `ids` ``(n, B)``."""
        return self.W.take(ids, axis=0)[:, :, :-1].transpose(0, 2, 1)

    def backward(self, dx: Array, ids: Array) -> None:
        """Add the gradient of the embeddings to `dW`, which contains the readout's gradient.

        `dx` is ``(n, H, B)``; `ids` ``(n, B)`` are the characters of the forward pass.
        """
        self.backend.sum_columns(as_columns(dx), ids.reshape(-1), out=self.dE)
        self.dW[:, :-1] += self.dE.T
