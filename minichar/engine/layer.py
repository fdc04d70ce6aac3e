"""A recurrent layer: one cell applied at every time step, with backpropagation through time.

    forward     t = 0 … n-1      h_t, c_t, cache_t = forward(W @ [h_{t-1}; x_t; 1], c_{t-1})
    backward    t = n-1 … 0      dh_t = dh_above_t + W_hᵀ @ da_{t+1}
                                 da_t, dc_{t-1} = backward(dh_t, dc_t, cache_t)

This is the layer of an LSTM; other cells have no c, and some return part of dh_{t-1} directly.

Backpropagation through time (Werbos 1990) is *truncated* here: states are carried from one chunk to
the next (`carry`), but gradients are not. The backward pass starts from a zero gradient at the end of
each chunk.

If a sequence contains multiple documents, the states can be reset to zero before any step t:

    h_{t-1} ← state_mask_t ∘ h_{t-1}        state_mask_t = 0 in the columns that are reset, otherwise 1
    dh_{t-1} ← state_mask_t ∘ dh_{t-1}      and likewise for the other states
"""

from functools import wraps
from types import ModuleType
from typing import Any

from minichar.devices.backend import Array, Backend, Function
from minichar.engine.cell import Cell, Product
from minichar.engine.layer_norm import LayerNorm
from minichar.engine.linear import CharacterLinear, Linear

Weights = dict[str, Array]
"""The arrays of a layer, keyed by short name, such as ``W``. Only the first layer can have ``Wx``."""
EVERY = slice(None)
"""The products of a cell with one stage."""


class Layer:
    """A recurrent layer over a chunk of T steps and B sequences.

    Parameters
    ----------
    cell : Cell
        A cell with one stage. For others, see `minichar.engine.staged_layer`.
    weights, gradients : dict of str to array
        The layer's parameters, named as in `Cell.shapes`, and their gradients, filled by `gradients`.
    H, T, B : int
        Number of hidden units, maximum number of time steps in a chunk, and number of sequences.
    backend : Backend
    layer_norm : bool
        Whether to apply layer normalisation to the pre-activations.

    Attributes
    ----------
    linears : list of Linear
        One for each matrix product of the cell.
    products : list of callables
        For each of `linears`, the function that returns its product at step t.
    norms : list of LayerNorm
        One for each stage of the cell, or none.
    readers : list of Linear
        The linear layers that use x; none if the inputs are ids. The `dx` of the first one is the layer's dx.
    recurrent : Linear
        The linear layer whose input is the hidden state.
    start : array, (S, H, B)
        States at the start of the chunk, with the hidden state first.
    states : list of T+1 lists of S arrays, (H, B)
        Element t contains the states before step t, and element t+1 those after it.
    caches : list of T tuples of arrays
        The arrays cached by the cell at each step.
    used : list of lists of S arrays, (H, B)
        The states in use: `states`, or copies with the state mask applied.
    state_mask : array, (T, B), or None
        0 for each sequence whose states are reset before a step, otherwise 1; None if there are no resets.
    above : list of arrays, (T, H, B)
        The inputs of the next layer, in which h is also stored (`pass_on`).
    """

    def __init__(
        self,
        cell: Cell,
        weights: Weights,
        gradients: Weights,
        H: int,
        T: int,
        B: int,
        backend: Backend,
        layer_norm: bool = False,
    ) -> None:
        self.cell, self.backend, self.xp = cell, backend, backend.xp
        rows = dict(cell.input_rows(H)) if "Wx" in weights else {}

        def linear(product: Product) -> Linear:
            W, dW, inputs = weights[product.name], gradients[product.name], H * product.reads_state
            arguments = W, dW, len(product.gates), inputs, T, B, backend
            if product not in rows:
                return Linear(*arguments)
            return CharacterLinear(
                *(arrays["Wx"][rows[product]] for arrays in (weights, gradients)), *arguments
            )

        self.linears = [linear(product) for product in cell.products]
        self.readers = [linear for linear in self.linears if linear.reads_x]
        self.recurrent = next(linear for linear in self.linears if linear.reads_h)
        dtype = self.recurrent.W.dtype
        self.norms = [LayerNorm(H, T, dtype, backend) for _ in cell.stages if layer_norm]
        self.products: list[Function] = [linear.step for linear in self.linears]
        self.start = backend.zeros((len(cell.states), H, B), dtype)  # (S, H, B)
        self.states: list[list[Array]] = [list(self.start)] * (T + 1)
        self.caches: list[Any] = [()] * T
        self.stores_caches = True
        self.set_state_mask(None)
        self.takes = slice(0 if cell.takes_h_prev else 1, None)  # the states that the cell takes
        self.above: list[Array] = []
        self.h_to = [self.recurrent.h[1:]]  # h is an input of the next step and of the next layer
        self.connect()

    def connect(self) -> None:
        """Prepare the cell's functions."""
        (stage,) = self.cell.stages
        function = with_direct_gradient(stage.backward) if self.cell.takes_h_prev else stage.backward
        self.cell_forward, self.cell_backward = map(self.backend.fuse, (stage.forward, function))

    def pass_on(self, inputs: list[Array]) -> None:
        """From now on, also store h in the `inputs` of the next layer at each step."""
        self.above = inputs
        self.h_to.extend(inputs)

    def set_state_mask(self, state_mask: Array | None) -> None:
        """Set where the states are reset; None to disable resets."""
        self.state_mask = state_mask
        self.used = self.states if state_mask is None else self.states.copy()

    def store_caches(self, store: bool) -> None:
        """Set whether to store each step's cache, which only the backward pass needs."""
        self.stores_caches = store
        for norm in self.norms:
            norm.stores_caches = store

    def read(self, steps: slice, inputs: Array) -> None:
        """Store the inputs for m time steps: ids ``(m, B)`` if ``Wx`` exists, otherwise x ``(m, D, B)``."""
        for linear in self.linears:
            linear.read(steps, inputs)

    def step(self, t: int) -> Array:
        """Run step t on the stored inputs. Return h ``(H, B)``."""
        if t == 0 or self.state_mask is not None:  # otherwise, the previous step has already stored h
            self.enter(t)
        a = self.normalised(t) if self.norms else [product(t) for product in self.products]
        into = [(0, steps[t]) for steps in self.h_to if t < len(steps)]
        *states, cache = self.cell_forward(*a, *self.used[t][self.takes], into=into)
        if self.stores_caches:
            self.caches[t] = cache
        self.states[t + 1] = states
        return states[0]

    def normalised(self, t: int, stage: int = 0, own: slice = EVERY) -> list[Array]:
        """Return the normalised pre-activations of a stage of the cell at step t, from its `own` products."""
        return self.norms[stage].forward(t, [product(t) for product in self.products[own]])

    def enter(self, t: int) -> None:
        """Reset the states before step t where `state_mask` is 0, and store h for the matrix product."""
        if self.state_mask is not None:
            self.used[t] = [self.state_mask[t] * state for state in self.states[t]]
        self.recurrent.h[t] = self.used[t][0]

    def backward(self, steps: slice, dh_above: Array) -> None:
        """Backpropagate through consecutive steps, and store the gradients of the pre-activations.

        The steps of a chunk can be divided among multiple calls, from the last steps to the first.

        Parameters
        ----------
        dh_above : array, (n, H, B)
            Gradient of the loss with respect to h at each of the chunk's n steps, from the layers above;
            n ≤ T. Modified in place, by adding the gradients from later steps.
        """
        if steps.stop == len(dh_above):  # gradients are not carried across chunks
            self.dstates = list(self.xp.zeros_like(self.start))[self.takes]
        for t in reversed(range(steps.start, steps.stop)):
            dh = dh_above[t]
            if t < len(dh_above) - 1:
                state_mask = None if self.state_mask is None else self.state_mask[t + 1]
                self.recurrent.add_state_gradient(t + 1, dh, state_mask)
            self.dstates = self.step_backward(t, dh)
            if self.state_mask is not None:
                self.dstates = [self.state_mask[t] * dstate for dstate in self.dstates]

    def step_backward(self, t: int, dh: Array) -> list[Array]:
        """Store ``da[t]`` of the matrix products; return the gradients of the states that the cell takes."""
        into = [(k, linear.da[t]) for k, linear in enumerate(self.linears)]
        gradients = self.cell_backward(dh, *self.dstates, self.caches[t], into=into)
        if self.norms:
            self.normalise_gradients(t)
        return gradients[len(self.linears) :]

    def normalise_gradients(self, t: int, stage: int = 0, own: slice = EVERY) -> None:
        """Backpropagate ``da[t]`` of a stage's `own` products through layer normalisation."""
        da = [linear.da[t].reshape(linear.gates, -1, linear.B) for linear in self.linears[own]]
        self.norms[stage].backward(t, da)

    def gradients(self, steps: slice, n: int, ids: Array) -> None:
        """Compute ``dx[steps]`` after `backward` and, with a chunk's first steps, the weight gradients.

        `ids` ``(n, B)`` are the *actual* input characters of the forward pass; used only if the layer has
        ``Wx``.
        """
        for linear in self.linears:
            linear.gradients(steps, n, ids)
        for linear in self.readers[1:]:
            self.readers[0].dx[steps] += linear.dx[steps]

    def values(self, t: int) -> dict[str, Array]:
        """Return a dict of the states after step t and the arrays cached at step t, each ``(H, B)``."""
        (stage,) = self.cell.stages
        values = dict(zip(self.cell.states, self.states[t + 1], strict=True))
        return values | dict(zip(stage.cache.split(), self.caches[t], strict=True))

    def carry(self, n: int) -> None:
        """Start the next chunk from the states after `n` steps."""
        # Copy to a new array first, because a cell may return a state unchanged, as a view of `start`.
        # `stack` is slower.
        self.start[...] = self.xp.concatenate(self.states[n]).reshape(self.start.shape)  # (S, H, B)


def with_direct_gradient(backward: Function) -> Function:
    """Return `backward` with a second gradient of h, the dh_prev from the next step, which is added to dh."""

    @wraps(backward)
    def function(xp: ModuleType, dh: Array, dh_direct: Array, *others: Any) -> Any:
        return backward(xp, dh + dh_direct, *others)

    return function
