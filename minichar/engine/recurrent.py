"""What the cells share: where their states live, and the walk back through time.

    forward     t = 0 … n-1      h_t = step(h_{t-1}, x_t)
    backward    t = n-1 … 0      dh_{t-1} = step_backward(dh_t + the gradient from above)

The second line is backpropagation through time (Werbos 1990). It is *truncated*: the
values of the states cross from one chunk into the next (`carry`), their gradients do
not, so the walk back starts from zero at the chunk's end.
"""

from abc import ABC, abstractmethod

from minichar.devices.backend import Array, Backend
from minichar.engine.linear import Linear
from minichar.engine.onehot import OneHot
from minichar.engine.parameters import Shapes

Weights = dict[str, Array]
"""The arrays of one layer by their short names: ``W``, and ``Wx`` in the first layer."""


class Recurrent(ABC):
    """A recurrent layer over a chunk of T steps and B sequences.

    Parameters
    ----------
    weights, gradients : dict of str to array
        The layer's parameters (`shapes` names them) and where their gradients go.
    H, T, B : int
        Hidden units; time steps and sequences the workspaces hold.
    backend : Backend

    Attributes
    ----------
    x : array, (T+1, D, B)
        The inputs, written by the layer below. The first layer reads characters: its D is 0.
    states : tuple of array, each (T+1, H, B)
        The hidden state h first; in an LSTM the cell state c after it. Index t holds the
        state before step t, index t+1 the state after.
    """

    x: Array
    states: tuple[Array, ...]
    n_states = 1

    def __init__(
        self, weights: Weights, gradients: Weights, H: int, T: int, B: int, backend: Backend
    ) -> None:
        self.xp, self.backend = backend.xp, backend
        self.weights, self.gradients = weights, gradients
        self.H, self.T, self.B = H, T, B
        self.dtype = weights["W"].dtype
        self.scratch = self.zeros(H, B)  # (H, B)
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the linear layers and name `x` and `states`."""

    @staticmethod
    @abstractmethod
    def shapes(H: int, D: int, V: int) -> Shapes:
        """Name and shape of each parameter of a layer with `D` inputs; with D = 0, of a first layer."""

    @abstractmethod
    def step(self, t: int, ids: Array | None) -> None:
        """Go from the states at `t` to those at ``t+1``; the first layer reads `ids` ``(B,)``."""

    @abstractmethod
    def step_backward(self, t: int, *dstates: Array) -> tuple[Array, ...]:
        """Turn the gradients of the states after step `t`, each ``(H, B)``, into those before it."""

    @abstractmethod
    def weight_gradients(self, n: int, ids: Array | None) -> None:
        """Write the gradients of the weights over `n` steps, where the first layer read `ids` ``(n, B)``."""

    @abstractmethod
    def input_gradient(self, n: int) -> Array:
        """Return the gradient with respect to the inputs x of `n` steps, ``(n, D, B)``, after `backward`."""

    @property
    def h(self) -> Array:
        """The hidden states, ``(T+1, H, B)``."""
        return self.states[0]

    def backward(self, dh_above: Array, ids: Array | None) -> None:
        """Backpropagate through time, and write the gradients of the weights.

        Parameters
        ----------
        dh_above : array, (n, H, B)
            Gradient of the loss with respect to h_1 … h_n through what lies above; n ≤ T.
        ids : array of int, (n, B), or None
            The characters that the forward pass was *fed*, in the first layer.
        """
        n = len(dh_above)
        dstates = tuple(self.zeros(self.H, self.B) for _ in self.states)  # the truncation
        for t in reversed(range(n)):
            dh, *others = dstates
            dh += dh_above[t]
            dstates = self.step_backward(t, dh, *others)
        self.weight_gradients(n, ids)

    def carry(self, n: int) -> None:
        """Make the states after `n` steps the ones the next chunk starts from."""
        for state in self.states:
            state[0] = state[n]

    def zeros(self, *shape: int) -> Array:
        """Return zeros of the layer's dtype."""
        return self.backend.zeros(shape, self.dtype)

    def linear(self, name: str, onehot: OneHot | None = None, recurrent: int = 0) -> Linear:
        """Return the linear layer over parameter `name`; `recurrent` as `Linear`."""
        W, dW = self.weights[name], self.gradients[name]
        return Linear(W, dW, self.T, self.B, self.backend, onehot, recurrent)

    def onehot(self, rows: slice = slice(None)) -> OneHot | None:
        """Return the character input for these rows of ``Wx``; None above the first layer."""
        if "Wx" not in self.weights:
            return None
        return OneHot(self.weights["Wx"][rows], self.gradients["Wx"][rows], self.B, self.backend)
