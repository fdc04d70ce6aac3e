"""A linear layer that computes the pre-activations at every time step of a chunk.

    s = [h; x; 1]                 the inputs and a row of ones, so the bias is the last column of W
    a = W @ s                     plus Wx[:, k] if x is a character k: Wx[:, k] = Wx @ onehot(k)
    a = W_h @ h + W_x @ [x; 1]    the same; the second product can be computed for several steps at once

    dh = W_hᵀ @ da                one matrix product per step, since step t-1 depends on it
    dx = W_xᵀ @ da                one matrix product over all T·B columns
    dW = Σ_t da_t @ s_tᵀ          one matrix product over all T·B columns
    dWx[:, k] = Σ da              over all steps and sequences with character k

One matrix product over an entire chunk is faster than T small ones, so a product is computed separately for
each step only if the next step depends on its result.
"""

from functools import cached_property

from minichar.devices.backend import Array, Backend, as_columns
from minichar.devices.random import Uniform
from minichar.engine import dropout
from minichar.engine.layer_norm import LayerNorm


class Linear:
    """Linear layer: ``a_t = W @ [h_t; x_t; 1]`` for t = 0 … T-1, where h or x may be omitted.

    Parameters
    ----------
    W, dW : array, (G, K+1)
        The weights, with the bias in the last column, and their gradient, computed by `backward`.
    gates : int
        Number of gates; W has one block of rows per gate.
    H : int
        Number of inputs from the hidden state, which come first in [h; x; 1].
    T, B : int
        Maximum number of time steps in a chunk, and number of sequences.
    backend : Backend
    Wx, dWx : array, (G, V), optional
        The character weights and their gradient, in the first layer of a network without an embedding.
    norm : LayerNorm, optional
        Applied to the pre-activations.

    Attributes
    ----------
    mask : array, (G, H), or None
        DropConnect mask for the weights that multiply h; None if DropConnect is inactive.
    used : array, (G, K+1)
        The weights in use: W, or a copy with the mask applied.
    share : int
        Number of columns of `used` that `step` multiplies. `a` contains the product of the other columns.
    h : array, (T, H, B)
    x : array, (T, D, B)
        The inputs of each step.
    a : array, (T, G, B)
        The part of the pre-activations that is known before a step: the columns of `Wx` for its characters,
        or the product of its inputs (`multiply_inputs`). `step` adds the rest in place.
    """

    def __init__(
        self,
        W: Array,
        dW: Array,
        gates: int,
        H: int,
        T: int,
        B: int,
        backend: Backend,
        Wx: Array | None = None,
        dWx: Array | None = None,
        norm: LayerNorm | None = None,
    ) -> None:
        self.xp, self.backend = backend.xp, backend
        self.W, self.dW, self.Wx, self.dWx = W, dW, Wx, dWx
        self.gates, self.H, self.T, self.B, self.norm = gates, H, T, B, norm
        self.reads_h, self.reads_x = H > 0, W.shape[1] > H + 1
        self.s = backend.zeros_of_steps((T, W.shape[1], B), W.dtype)  # (T, K+1, B)
        self.h, self.x = self.s[:, :H], self.s[:, H:-1]  # (T, H, B), (T, D, B)
        self.s[:, -1] = 1.0
        self.use_mask(None)

    @cached_property
    def a(self) -> Array:
        """The part of the pre-activations that is known before a step."""
        return self.backend.zeros_of_steps((self.T, len(self.W), self.B), self.W.dtype)  # (T, G, B)

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

    def use_mask(self, mask: Array | None) -> None:
        """Set the DropConnect mask ``(G, H)``, whose values may change between chunks; None for no mask."""
        self.mask, self.used = mask, self.W if mask is None else self.W.copy()
        self.share = self.W.shape[1]

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

    def read(self, steps: slice, inputs: Array) -> None:
        """Store the inputs for m time steps: ids ``(m, B)`` if `Wx` is given, otherwise x ``(m, D, B)``."""
        if self.Wx is not None:
            self.backend.take_columns(self.Wx, inputs, out=self.a[steps])
        elif self.reads_x:
            self.x[steps] = inputs

    def multiply_inputs(self, steps: slice) -> None:
        """Compute ``W_x @ [x; 1]`` for several steps with one matrix product.

        A single step is left to `step`, which then needs only one product.
        """
        several = steps.stop - steps.start > 1
        self.share = self.H if several and (self.reads_x or not self.reads_h) else self.s.shape[1]
        if several and self.Wx is not None and not self.reads_h:
            self.a[steps] += self.used[:, -1:]
        elif several and self.reads_x:
            x = as_columns(self.s[steps, self.H :])  # (D+1, m·B)
            self.backend.matmul_steps(self.used[:, self.H :], x, out=self.a[steps])

    def step(self, t: int) -> Array:
        """Return the pre-activations at step t, ``(gates, H, B)``, normalised if `norm` is given."""
        if self.Wx is None and self.share == self.s.shape[1]:
            a = self.backend.matmul(self.used, self.s[t])  # (G, B)
        elif self.share:
            W, s = self.used[:, : self.share], self.s[t, : self.share]  # (G, share), (share, B)
            a = self.backend.add_matmul(W, s, out=self.a[t])  # (G, B)
        else:
            a = self.a[t]
        a = a.reshape(self.gates, -1, self.B)
        return a if self.norm is None else self.norm.forward(t, a)

    def normalise_backward(self, t: int) -> None:
        """Backpropagate ``da[t]`` through the layer normalisation in place, if `norm` is given."""
        if self.norm is not None:
            self.norm.backward(t, self.da[t].reshape(self.gates, -1, self.B))

    def state_gradient(self, t: int) -> Array:
        """Return the gradient with respect to h at step t, ``(H, B)``, computed from ``da[t]``."""
        return self.backend.matmul(self.used[:, : self.H].T, self.da[t])

    def add_state_gradient(self, t: int, dh: Array, keep: Array | None = None) -> None:
        """Add the gradient with respect to h at step t to `dh` ``(H, B)``, except where `keep` is 0."""
        if keep is None:
            self.backend.add_matmul(self.used[:, : self.H].T, self.da[t], out=dh)
        else:
            dh += keep * self.state_gradient(t)

    def gradients(self, steps: slice, n: int, ids: Array) -> None:
        """Compute ``dx[steps]`` and, with the first steps of a chunk of `n` steps, `dW` and `dWx`.

        `ids` ``(n, B)`` are the input characters of the forward pass, used only if `Wx` is given.
        """
        da = as_columns(self.da[steps])  # (G, m·B)
        if self.reads_x:
            self.backend.matmul_steps(self.W[:, self.H : -1].T, da, out=self.dx[steps])
        if steps.start > 0:
            return
        if steps.stop < n:
            da = as_columns(self.da[:n])  # (G, n·B)
        self.backend.matmul(da, as_columns(self.s[:n]).T, out=self.dW)
        if self.mask is not None:
            self.dW[:, : self.H] = dropout.backward(self.dW[:, : self.H], self.mask)
        if self.Wx is not None:
            self.backend.sum_columns(da, ids.reshape(-1), out=self.dWx)
