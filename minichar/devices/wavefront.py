"""Run the layers of a network in blocks of steps, as GPUs require.

    a = W_h @ h + W_x @ [x; 1]    the second product is computed for a block of steps at once

A lane is a function that runs a part of the network over a block of steps: the products of inputs, the steps
of a layer, dropout, or their backward passes. A device can run the lanes at the same time, each on another
block. The layers are those of `minichar.engine.layer`, which runs the same equations step by step.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from minichar.devices.backend import Array, as_columns
from minichar.devices.chunk_kernel import ChunkKernel

Lane = Callable[[slice], None]
BLOCK = 2
"""Number of steps in a block. With fewer, lanes overlap more, but need more operations."""


class Wavefront:
    """Runs all layers of a network over consecutive steps.

    Parameters
    ----------
    parts : list of LayerInBlocks
    run_lanes : callable, optional
        ``run_lanes(lanes, blocks)`` runs the lanes at the same time. A lane reaches a block after the
        lane before it. By default, each lane runs all steps at once, one after another.
    """

    def __init__(
        self, parts: Sequence["LayerInBlocks"], run_lanes: Callable[..., None] | None = None
    ) -> None:
        self.parts, self.run_lanes = parts, run_lanes

    def forward(self, steps: slice, masks: Sequence[Array | None], drop: Callable[..., None]) -> None:
        """Run the steps on the inputs of the first layer. ``drop(mask, arrays, steps)`` applies dropout."""
        lanes: list[Lane] = []
        for part, mask in zip(self.parts, masks, strict=True):
            lanes += [part.multiply_inputs, part.forward]
            if mask is not None:
                lanes.append(partial(drop, mask, part.layer.above))
        self.run(lanes, steps)

    @property
    def uses_kernel(self) -> bool:
        """Whether a kernel runs at least one layer."""
        return any(isinstance(part, LayerInKernel) for part in self.parts)

    def backward(
        self, n: int, masks: Sequence[Array | None], drop: Callable[..., None], dx: Array, ids: Array
    ) -> Array:
        """Backpropagate dx ``(T, H, B)`` through n steps. Return the gradient of the first layer's input."""
        lanes: list[Lane] = []
        for part, mask in zip(reversed(self.parts), reversed(masks), strict=True):
            if mask is not None:
                lanes.append(partial(drop, mask, [dx]))
            lanes.append(partial(part.backward, dh_above=dx[:n]))
            lanes.append(partial(part.layer.gradients, n=n, ids=ids))
            dx = part.layer.readers[0].dx if part.layer.readers else None  # (T, D, B)
        self.run(lanes, slice(0, n), backwards=True)
        return dx

    def run(self, lanes: Sequence[Lane], steps: slice, backwards: bool = False) -> None:
        """Run each lane over the steps, or from the last step to the first if `backwards`."""
        if self.run_lanes is None or steps.stop - steps.start == 1:
            for lane in lanes:
                lane(steps)
            return
        starts = range(steps.start, steps.stop, BLOCK)
        blocks = [slice(start, min(start + BLOCK, steps.stop)) for start in starts]
        self.run_lanes(lanes, blocks[::-1] if backwards else blocks)


class LayerInBlocks:
    """Runs a layer (`minichar.engine.layer.Layer`) over blocks of steps."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.products = [ProductInBlocks(linear) for linear in layer.linears]
        layer.products = [product.step for product in self.products]

    def multiply_inputs(self, steps: slice) -> None:
        """Compute the part of the pre-activations that depends only on the stored inputs."""
        for product in self.products:
            product.multiply_inputs(steps)

    def forward(self, steps: slice) -> None:
        """Run the steps, after `multiply_inputs`."""
        for t in range(steps.start, steps.stop):
            self.layer.step(t)

    def backward(self, steps: slice, dh_above: Array) -> None:
        """Backpropagate through the steps, and store the gradients of the pre-activations."""
        self.layer.backward(steps, dh_above)


class ProductInBlocks:
    """Computes the pre-activations of a linear layer; its inputs are multiplied for several steps at once.

    Attributes
    ----------
    a : array, (T, G, B)
        The part of the pre-activations that is known before a step.
    multiplies : bool
        Whether there are inputs to multiply before the steps.
    share : int
        Number of columns of the weights that `step` multiplies. `a` contains the product of the others.
    """

    def __init__(self, linear: Any) -> None:
        self.linear, self.backend, self.all = linear, linear.backend, linear.W.shape[1]
        self.reads_ids, self.share = hasattr(linear, "Wx"), self.all
        self.multiplies = linear.reads_x or not linear.reads_h
        if self.reads_ids:
            self.a = linear.a
        elif self.multiplies:
            shape = len(linear.s), len(linear.W), linear.B
            self.a = self.backend.zeros_of_steps(shape, linear.W.dtype)  # (T, G, B)

    def multiply_inputs(self, steps: slice) -> None:
        """Compute ``W_x @ [x; 1]`` for several steps with one matrix product.

        A single step is left to `step`, which then needs only one product.
        """
        linear, several = self.linear, steps.stop - steps.start > 1
        in_advance = several and self.multiplies
        self.share = linear.H if in_advance else self.all
        if in_advance and self.reads_ids:
            self.a[steps] += linear.used[:, -1:]
        elif in_advance:
            x = as_columns(linear.s[steps, linear.H :])  # (D+1, m·B)
            self.backend.matmul_steps(linear.used[:, linear.H :], x, out=self.a[steps])

    def step(self, t: int) -> Array:
        """Return the pre-activations at step t, ``(gates, H, B)``."""
        linear = self.linear
        if self.share == self.all:
            return linear.step(t)
        if self.share:
            W, s = linear.used[:, : self.share], linear.s[t, : self.share]  # (G, share), (share, B)
            self.backend.add_matmul(W, s, out=self.a[t])
        return self.a[t].reshape(linear.gates, -1, linear.B)


class LayerInKernel(LayerInBlocks):
    """Runs a layer with a kernel of the device (docs/chunk-kernel.md).

    The kernel runs the steps of a chunk if they are given several at a time and no state is reset. Otherwise,
    the layer runs one step after another.

    Attributes
    ----------
    in_kernel : bool
        Whether the kernel has run all previous steps of the chunk.
    """

    def __init__(self, layer: Any, kernel: ChunkKernel) -> None:
        super().__init__(layer)
        self.kernel, self.in_kernel, self.recurrent = kernel, False, layer.recurrent
        others = (product for product in self.products if not product.linear.reads_h)
        self.other = next(others, self.products[0])

    def forward(self, steps: slice) -> None:
        """Run the steps, after `multiply_inputs`."""
        start, stop, layer = steps.start, steps.stop, self.layer
        self.in_kernel = layer.keep is None and stop - start > 1 and (start == 0 or self.in_kernel)
        if not self.in_kernel:
            super().forward(steps)
            return
        states = self.kernel.states  # (T+1, S, H, B)
        states[start] = layer.xp.stack(layer.states[start])
        share = next(product.share for product in self.products if product.linear is self.recurrent)
        self.kernel.forward(steps, self.recurrent.used, share, self.other.a[steps])
        h = self.recurrent.h[start : stop + 1]  # (n+1, H, B), or (n, H, B) at the end
        h[...] = states[start : start + len(h), 0]
        for x in layer.above:
            x[steps] = states[start + 1 : stop + 1, 0]
        layer.states[start + 1 : stop + 1] = [list(state) for state in states[start + 1 : stop + 1]]
        if layer.keeps_caches:
            layer.caches[steps] = [self.cache(t) for t in range(start, stop)]

    def cache(self, t: int) -> tuple[Array, ...]:
        """Return what the cell would have cached at step t."""
        (stage,) = self.layer.cell.stages
        values = dict(zip(self.kernel.shape.counts.cache, self.kernel.cache[t], strict=True))
        states = zip(self.layer.cell.states, self.layer.states[t], strict=True)
        values |= {f"{name}_prev": state for name, state in states}
        return tuple(values[name] for name in stage.cache.split())

    def backward(self, steps: slice, dh_above: Array) -> None:
        """Backpropagate through the steps, and store the gradients of the pre-activations."""
        if not self.in_kernel:
            super().backward(steps, dh_above)
            return
        if steps.stop == len(dh_above):  # gradients are not carried across chunks
            self.kernel.dstate[...] = 0.0
        else:
            self.recurrent.add_state_gradient(steps.stop, dh_above[steps.stop - 1])
        du, da = self.recurrent.da[steps], self.other.linear.da[steps]
        self.kernel.backward(steps, self.recurrent.used, dh_above[steps], du, da)
