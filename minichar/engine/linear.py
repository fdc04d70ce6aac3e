"""A linear layer that computes the pre-activations at every time step of a chunk.

    s = [h; x; 1]                 the inputs and a row of ones, so the bias is the last column of W
    a = W @ s                     plus Wx[:, k] if x is a character k: Wx[:, k] = Wx @ onehot(k)

    dh = W_hᵀ @ da                one matrix product per step, since step t-1 depends on it
    dx = W_xᵀ @ da                one matrix product over all T·B columns
    dW = Σ_t da_t @ s_tᵀ          one matrix product over all T·B columns
    dWx[:, k] = Σ da              over all steps and sequences with character k

One matrix product over an entire chunk is faster than T small ones, so a product is computed separately for
each step only if the next step depends on its result.
"""

from functools import cached_property
from typing import Any

from minichar.devices.backend import Array, Backend, as_columns
from minichar.devices.random import Uniform
from minichar.engine import dropout


class Linear:
    """Linear layer: ``a_t = W @ [h_t; x_t; 1]`` for t = 0 … T-1, where h or x may be omitted.

    Parameters
    ----------
    W, dW : array, (G, K+1)
        The weights, with the bias in the last column, and their gradient, computed by `gradients`.
    gates : int
        Number of gates; W has one block of rows per gate.
    H : int
        Number of inputs from the hidden state, which come first in [h; x; 1].
    T, B : int
        Maximum number of time steps in a chunk, and number of sequences.
    backend : Backend

    Attributes
    ----------
    mask : array, (G, H), or None
        DropConnect mask for the weights that multiply h; None if DropConnect is inactive.
    used : array, (G, K+1)
        The weights in use: W, or a copy with the mask applied.
    h : array, (T, H, B)
    x : array, (T, D, B)
        The inputs of each step.
    """

    def __init__(self, W: Array, dW: Array, gates: int, H: int, T: int, B: int, backend: Backend) -> None:
        self.W, self.dW, self.backend = W, dW, backend
        self.gates, self.H, self.T, self.B = gates, H, T, B
        self.reads_h, self.reads_x = H > 0, W.shape[1] > H + 1
        self.s = backend.zeros_of_steps((T, W.shape[1], B), W.dtype)  # (T, K+1, B)
        self.h, self.x = self.s[:, :H], self.s[:, H:-1]  # (T, H, B), (T, D, B)
        self.s[:, -1] = 1.0
        self.use_mask(None)

    # `da` is allocated in the first backward pass, because sampling does not need it. With shape (T, G, B),
    # each step writes one contiguous block. Writing a slice of each row of (G, T·B) is several times slower.
    @cached_property
    def da(self) -> Array:
        """The gradient with respect to the pre-activations at every step."""
        return self.backend.zeros_of_steps((self.T, len(self.W), self.B), self.W.dtype)  # (T, G, B)

    @cached_property
    def dx(self) -> Array:
        """The gradient with respect to x at every step."""
        return self.backend.zeros_of_steps(self.x.shape, self.W.dtype)  # (T, D, B)

    def read(self, steps: slice, inputs: Array) -> None:
        """Store the inputs x ``(m, D, B)`` for m time steps, if the layer uses x."""
        if self.reads_x:
            self.x[steps] = inputs

    def step(self, t: int) -> Array:
        """Return the pre-activations at step t, ``(gates, H, B)``."""
        return self.backend.matmul(self.used, self.s[t]).reshape(self.gates, -1, self.B)

    def state_gradient(self, t: int) -> Array:
        """Return the gradient with respect to h at step t, ``(H, B)``, computed from ``da[t]``."""
        return self.backend.matmul(self.used[:, : self.H].T, self.da[t])

    def add_state_gradient(self, t: int, dh: Array, state_mask: Array | None = None) -> None:
        """Add the gradient with respect to h at step t to `dh` ``(H, B)``, except where `state_mask` is 0."""
        if state_mask is None:
            self.backend.add_matmul(self.used[:, : self.H].T, self.da[t], out=dh)
        else:
            dh += state_mask * self.state_gradient(t)

    def gradients(self, steps: slice, n: int, ids: Array) -> None:
        """Compute ``dx[steps]``. The call for the first steps of a chunk of `n` steps also computes `dW`.

        The blocks of a chunk are processed from the last to the first. `ids` ``(n, B)`` are the input
        characters of the forward pass.
        """
        da = as_columns(self.da[steps])  # (G, m·B)
        if self.reads_x:
            self.backend.matmul_steps(self.W[:, self.H : -1].T, da, out=self.dx[steps])
        if steps.start == 0:
            self.weight_gradients(da if steps.stop == n else as_columns(self.da[:n]), n, ids)

    def weight_gradients(self, da: Array, n: int, ids: Array) -> None:
        """Compute `dW` from da ``(G, n·B)``."""
        self.backend.matmul(da, as_columns(self.s[:n]).T, out=self.dW)

    def use_mask(self, mask: Array | None) -> None:
        """Set the DropConnect mask ``(G, H)``, whose values may change between chunks; None for no mask."""
        self.mask, self.used = mask, self.W if mask is None else self.W.copy()

    def draw_mask(self, probability: float, generator: Uniform) -> None:
        """Draw a DropConnect mask for the next chunk."""
        if self.mask is None:  # allocate once: a captured CUDA graph uses fixed addresses
            self.use_mask(self.backend.zeros((len(self.W), self.H), self.W.dtype))
        dropout.draw_mask(probability, generator, self.mask)

    def apply_mask(self) -> None:
        """Apply the DropConnect mask to the weights. Must be called before the first step of a chunk."""
        if self.mask is not None:
            self.used[...] = self.W
            self.used[:, : self.H] = dropout.forward(self.W[:, : self.H], self.mask)

    def mask_gradient(self) -> None:
        """Apply the DropConnect mask to `dW`."""
        if self.mask is not None:
            self.dW[:, : self.H] = dropout.backward(self.dW[:, : self.H], self.mask)


class CharacterLinear(Linear):
    """Linear layer whose x is a character k: ``a_t = Wx[:, k_t] + W @ [h_t; 1]``.

    Parameters
    ----------
    Wx, dWx : array, (G, V)
        The character weights and their gradient, in the first layer of a network without an embedding.
    *arguments
        See `Linear`.

    Attributes
    ----------
    a : array, (T, G, B)
        The columns of `Wx` for the characters of each step. `step` adds the remaining terms in place.
    """

    def __init__(self, Wx: Array, dWx: Array, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.Wx, self.dWx = Wx, dWx
        self.a = self.backend.zeros_of_steps((self.T, len(self.W), self.B), self.W.dtype)  # (T, G, B)

    def read(self, steps: slice, ids: Array) -> None:
        """Look up the character weights of the ids ``(m, B)`` for m time steps."""
        self.backend.take_columns(self.Wx, ids, out=self.a[steps])

    def step(self, t: int) -> Array:
        """Return the pre-activations at step t, ``(gates, H, B)``."""
        return self.backend.add_matmul(self.used, self.s[t], out=self.a[t]).reshape(self.gates, -1, self.B)

    def weight_gradients(self, da: Array, n: int, ids: Array) -> None:
        """Compute `dW` and `dWx` from da ``(G, n·B)`` and the ids ``(n, B)``."""
        super().weight_gradients(da, n, ids)
        self.backend.sum_columns(da, ids.reshape(-1), out=self.dWx)
