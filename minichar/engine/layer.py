"""A recurrent layer: one cell applied at every time step, with backpropagation through time.

    forward     t = 0 … n-1      h_t, cache_t = forward(W @ [h_{t-1}; x_t; 1])
    backward    t = n-1 … 0      dh_t = dh_above_t + W_hᵀ @ da_{t+1};  da_t = backward(dh_t, cache_t)

Backpropagation through time (Werbos 1990) is *truncated* here: states are carried from one chunk to
the next (`carry`), but gradients are not. The backward pass starts from a zero gradient at the end of
each chunk.

If a sequence contains several documents, the states can be reset to zero before any step t:

    h_{t-1} ← keep_t ∘ h_{t-1}              keep_t = 0 in the columns that are reset, otherwise 1
    dh_{t-1} ← keep_t ∘ dh_{t-1}            and likewise for the other states
"""

from minichar.devices.backend import Array, Backend
from minichar.engine.cell import Cell, Product
from minichar.engine.layer_norm import LayerNorm
from minichar.engine.layer_stage import LayerStage
from minichar.engine.linear import Linear

Weights = dict[str, Array]
"""The arrays of a layer, keyed by short name, such as ``W``. Only the first layer can have ``Wx``."""


class Layer:
    """A recurrent layer over a chunk of T steps and B sequences.

    Parameters
    ----------
    cell : Cell
    weights, gradients : dict of str to array
        The layer's parameters, named as in `Cell.shapes`, and their gradients, filled by `backward`.
    H, T, B : int
        Number of hidden units, maximum number of time steps in a chunk, and number of sequences.
    backend : Backend
    layer_norm : bool
        Whether to apply layer normalisation to the pre-activations.

    Attributes
    ----------
    start : array, (S, H, B)
        States at the start of the chunk, with the hidden state first.
    states : list of T+1 lists of S arrays, (H, B)
        Element t contains the states before step t, and element t+1 those after it.
    readers : list of Linear
        The linear layers that use x; none if the inputs are ids. The first one's `dx` is the layer's.
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
        self.cell, self.xp = cell, backend.xp
        dtype = weights[cell.products[0].name].dtype
        rows = dict(cell.input_rows(H)) if "Wx" in weights else {}

        def linear(product: Product) -> Linear:
            Wx, dWx = (
                (arrays["Wx"][rows[product]] if product in rows else None) for arrays in (weights, gradients)
            )
            W, dW = weights[product.name], gradients[product.name]
            norm = LayerNorm(H, T, dtype, backend) if layer_norm else None
            inputs = H * product.reads_state
            return Linear(W, dW, len(product.gates), inputs, T, B, backend, Wx, dWx, norm)

        self.stages = [
            LayerStage(stage, [linear(product) for product in stage.products], T, backend)
            for stage in cell.stages
        ]
        if cell.takes_h_prev:
            self.stages[-1].add_direct_gradient()
        self.linears = [linear for stage in self.stages for linear in stage.linears]
        self.readers = [linear for linear in self.linears if linear.reads_x]
        self.above: list[Array] = []
        # h is an input to the matrix product of the next stage or, after the last stage, of the next step.
        first, *others = (stage.recurrent.h for stage in self.stages)
        self.into = [
            [*([(0, h[t])] for h in others), [(0, h) for h in first[t + 1 : t + 2]]] for t in range(T)
        ]
        self.keeps_caches = True
        self.start = backend.zeros((len(cell.states), H, B), dtype)  # (S, H, B)
        self.states: list[list[Array]] = [list(self.start)] * (T + 1)

    def pass_on(self, inputs: list[Array]) -> None:
        """From now on, also store h in the `inputs` of the next layer at each step."""
        self.above = inputs
        for t, into in enumerate(self.into):
            into[-1].extend((0, x[t]) for x in inputs)

    def keep_caches(self, keep: bool) -> None:
        """Set whether to keep each step's cache, which only the backward pass needs."""
        self.keeps_caches = keep
        for linear in self.linears:
            if linear.norm is not None:
                linear.norm.keeps_caches = keep

    def read(self, steps: slice, inputs: Array) -> None:
        """Store the inputs for m time steps: ids ``(m, B)`` if ``Wx`` exists, otherwise x ``(m, D, B)``."""
        for linear in self.linears:
            linear.read(steps, inputs)

    def multiply_inputs(self, steps: slice) -> None:
        """Compute the part of the pre-activations that depends only on the stored inputs."""
        for linear in self.linears:
            linear.multiply_inputs(steps)

    def forward(self, steps: slice, keep: Array | None = None) -> None:
        """Run consecutive steps on the stored inputs, after `multiply_inputs`. `keep` is ``(T, B)``."""
        for t in range(steps.start, steps.stop):
            self.step(t, None if keep is None else keep[t])

    def step(self, t: int, keep: Array | None = None) -> Array:
        """Run step t on the stored inputs. Return h ``(H, B)``.

        Parameters
        ----------
        keep : array, (B,), optional
            0 for each sequence that is reset before the step, otherwise 1.
        """
        h, *passed = self.states[t] if keep is None else [keep * state for state in self.states[t]]
        if t == 0 or keep is not None:  # otherwise, the previous step has already stored h
            self.stages[0].recurrent.h[t] = h
        if self.cell.takes_h_prev:
            passed.insert(0, h)
        for stage, into in zip(self.stages, self.into[t], strict=True):
            a = [linear.step(t) for linear in stage.linears]
            h, *passed, cache = stage.forward(*a, *passed, into=into)
            if self.keeps_caches:
                stage.caches[t] = cache
        self.states[t + 1] = [h, *passed]
        return h

    def backward(self, steps: slice, dh_above: Array, keep: Array | None = None) -> None:
        """Backpropagate through consecutive steps, and store the gradients of the pre-activations.

        The steps of a chunk can be divided among several calls, from the last steps to the first.

        Parameters
        ----------
        dh_above : array, (n, H, B)
            Gradient of the loss with respect to h at each of the chunk's n steps, from the layers above;
            n ≤ T. Modified in place, by adding the gradients from later steps.
        keep : array, (T, B), optional
            The values of `keep` used in the forward pass.
        """
        n, first = len(dh_above), self.stages[0]
        if steps.stop == n:  # gradients are not carried across chunks
            self.dpassed = list(self.xp.zeros_like(self.start))[not self.cell.takes_h_prev :]
        for t in reversed(range(steps.start, steps.stop)):
            dh = dh_above[t]
            if t < n - 1:
                first.recurrent.add_state_gradient(t + 1, dh, None if keep is None else keep[t + 1])
            for stage in reversed(self.stages):
                gradients = stage.backward(dh, *self.dpassed, stage.caches[t], into=stage.das[t])
                for linear in stage.linears:
                    linear.normalise_backward(t)
                self.dpassed = gradients[len(stage.linears) :]
                if stage is not first:
                    dh = stage.recurrent.state_gradient(t)
            if keep is not None:
                self.dpassed = [keep[t] * dstate for dstate in self.dpassed]

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
        values = dict(zip(self.cell.states, self.states[t + 1], strict=True))
        for stage, kept in zip(self.cell.stages, self.stages, strict=True):
            values |= zip(stage.cache.split(), kept.caches[t], strict=True)
        return values

    def carry(self, n: int) -> None:
        """Start the next chunk from the states after `n` steps."""
        # Stack into a new array, because a cell may return a state unchanged, as a view of `start`.
        self.start[...] = self.xp.stack(self.states[n])  # (S, H, B)
