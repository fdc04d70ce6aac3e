"""A layer whose cell has multiple stages: a matrix product depends on the result of another one.

    s_1, passed_1, cache_1 = forward_1(W_1 @ [h_prev; x; 1])
    h, c, cache_2 = forward_2(W_2 @ [s_1; x; 1], passed_1)

The GRU that applies its reset gate before the matrix product (`minichar.engine.gru_reset_before`) is the only
registered cell with two stages.
"""

from itertools import accumulate, pairwise

from minichar.devices.backend import Array
from minichar.engine.layer import Layer, with_direct_gradient


class StagedLayer(Layer):
    """A `Layer` that runs the stages of its cell one after another.

    Attributes
    ----------
    own : list of slice
        For each stage, its part of `linears` and `products`.
    inputs : list of Linear
        For each stage, the linear layer whose input is the hidden state or the result of the stage before.
    """

    def connect(self) -> None:
        """Prepare the functions of the stages, each of which stores its result for the next one."""
        ends = accumulate((len(stage.products) for stage in self.cell.stages), initial=0)
        self.own = [slice(*pair) for pair in pairwise(ends)]
        self.inputs = [next(linear for linear in self.linears[own] if linear.reads_h) for own in self.own]
        self.results_to = [*([linear.h] for linear in self.inputs[1:]), self.h_to]
        functions = [stage.backward for stage in self.cell.stages]
        if self.cell.takes_h_prev:
            functions[-1] = with_direct_gradient(functions[-1])
        self.forwards = [self.backend.fuse(stage.forward) for stage in self.cell.stages]
        self.backwards = [self.backend.fuse(function) for function in functions]

    def step(self, t: int) -> Array:
        """Run step t on the stored inputs. Return h ``(H, B)``."""
        if t == 0 or self.state_mask is not None:  # otherwise, the previous step has already stored h
            self.enter(t)
        passed, caches = self.used[t][self.takes], []
        stages = zip(self.own, self.forwards, self.results_to, strict=True)
        for k, (own, forward, to) in enumerate(stages):
            a = self.normalised(t, k, own) if self.norms else [product(t) for product in self.products[own]]
            into = [(0, steps[t]) for steps in to if t < len(steps)]
            h, *passed, cache = forward(*a, *passed, into=into)
            caches.append(cache)
        if self.stores_caches:
            self.caches[t] = caches
        self.states[t + 1] = [h, *passed]
        return h

    def step_backward(self, t: int, dh: Array) -> list[Array]:
        """Store ``da[t]`` of the matrix products; return the gradients of the states that the cell takes."""
        dpassed = self.dstates
        for k, backward in reversed(list(enumerate(self.backwards))):
            linears = self.linears[self.own[k]]
            into = [(number, linear.da[t]) for number, linear in enumerate(linears)]
            gradients = backward(dh, *dpassed, self.caches[t][k], into=into)
            if self.norms:
                self.normalise_gradients(t, k, self.own[k])
            dpassed = gradients[len(linears) :]
            if k > 0:
                dh = self.inputs[k].state_gradient(t)
        return dpassed

    def values(self, t: int) -> dict[str, Array]:
        """Return a dict of the states after step t and the arrays cached at step t, each ``(H, B)``."""
        values = dict(zip(self.cell.states, self.states[t + 1], strict=True))
        for stage, cache in zip(self.cell.stages, self.caches[t], strict=True):
            values |= zip(stage.cache.split(), cache, strict=True)
        return values
