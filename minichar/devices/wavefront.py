"""Run the layers of a network in blocks of steps, as GPUs require.

    a = W_h @ h + W_x @ [x; 1]    the second product is computed for a block of steps at once

A lane is a function that runs a part of the network over a block of steps: the products of inputs, the steps
of a layer, dropout, or their backward passes. A device can run the lanes at the same time, each on a
different block. The layers are those of `minichar.engine.layer`, which runs the same equations step by step.
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
        lane before it. By default, the lanes run one after another, each over all steps in one block.
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
        """Run the steps. Call `multiply_inputs` first."""
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
        The part of the pre-activations known before a step.
    multiplies : bool
        Whether there are inputs to multiply before the steps.
    share : int
        Number of weight columns that `step` multiplies. `a` contains the contribution of the other columns.
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

    The kernel runs the steps of a chunk if all are passed at once and no state is reset. Otherwise, the
    layer runs one step after another.

    Attributes
    ----------
    in_kernel : bool
        Whether the kernel has run the chunk.
    """

    def __init__(self, layer: Any, kernel: ChunkKernel) -> None:
        super().__init__(layer)
        self.kernel, self.in_kernel, self.recurrent = kernel, False, layer.recurrent
        others = (product for product in self.products if not product.linear.reads_h)
        self.other = next(others, self.products[0])

    def forward(self, steps: slice) -> None:
        """Run one step, or several from step 0. Call `multiply_inputs` first."""
        layer, n = self.layer, steps.stop
        self.in_kernel = layer.state_mask is None and n - steps.start > 1
        if not self.in_kernel:
            super().forward(steps)
            return
        states = self.kernel.states  # (T+1, S, H, B)
        states[0] = layer.start
        share = next(product.share for product in self.products if product.linear is self.recurrent)
        self.kernel.forward(self.recurrent.used, share, self.other.a[:n])
        h = self.recurrent.h[: n + 1]  # (n+1, H, B), or (n, H, B) if n = T
        h[...] = states[: len(h), 0]
        for x in layer.above:
            x[:n] = states[1 : n + 1, 0]
        layer.states[1 : n + 1] = [list(state) for state in states[1 : n + 1]]

    def backward(self, steps: slice, dh_above: Array) -> None:
        """Backpropagate through the steps, and store the gradients of the pre-activations."""
        if not self.in_kernel:
            super().backward(steps, dh_above)
            return
        self.kernel.dstate[...] = 0.0  # gradients are not carried across chunks
        du, da = self.recurrent.da[steps], self.other.linear.da[steps]
        self.kernel.backward(self.recurrent.used, dh_above, du, da)
