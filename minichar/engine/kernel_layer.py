"""A recurrent layer that runs consecutive steps in one kernel of the device (docs/chunk-kernel.md).

The kernel computes the equations of `minichar.engine.layer` and of the cell.
"""

from typing import Any

from minichar.devices.backend import Array, Backend
from minichar.engine.config import Config
from minichar.engine.layer import Layer, Weights


class KernelLayer(Layer):
    """A `Layer` with a kernel.

    The kernel runs the steps of a chunk if they are given several at a time and no state is reset. Otherwise,
    the layer runs one step after another.

    Parameters
    ----------
    kernel : ChunkKernel
    *arguments
        See `Layer`.

    Attributes
    ----------
    in_kernel : bool
        Whether the kernel has run all previous steps of the chunk.
    """

    def __init__(self, kernel: Any, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.kernel, self.in_kernel = kernel, False
        (self.stage,) = self.stages
        self.recurrent = self.stage.recurrent
        self.other = next((linear for linear in self.linears if not linear.reads_h), self.recurrent)

    def forward(self, steps: slice, keep: Array | None = None) -> None:
        """Run consecutive steps on the stored inputs, after `multiply_inputs`. `keep` is ``(T, B)``."""
        start, stop = steps.start, steps.stop
        self.in_kernel = keep is None and stop - start > 1 and (start == 0 or self.in_kernel)
        if not self.in_kernel:
            super().forward(steps, keep)
            return
        recurrent, other, states = self.recurrent, self.other, self.kernel.states  # (T+1, S, H, B)
        states[start] = self.xp.stack(self.states[start])
        self.kernel.forward(steps, recurrent.used, recurrent.share, other.a[steps])
        h = recurrent.h[start : stop + 1]  # (n+1, H, B), or (n, H, B) at the end
        h[...] = states[start : start + len(h), 0]
        for x in self.above:
            x[steps] = states[start + 1 : stop + 1, 0]
        self.states[start + 1 : stop + 1] = [list(state) for state in states[start + 1 : stop + 1]]
        if self.keeps_caches:
            self.stage.caches[steps] = [self.cache(t) for t in range(start, stop)]

    def cache(self, t: int) -> tuple[Array, ...]:
        """Return what the cell would have cached at step t."""
        values = dict(zip(self.kernel.shape.counts.cache, self.kernel.cache[t], strict=True))
        values |= zip((f"{name}_prev" for name in self.cell.states), self.states[t], strict=True)
        return tuple(values[name] for name in self.stage.stage.cache.split())

    def backward(self, steps: slice, dh_above: Array, keep: Array | None = None) -> None:
        """Backpropagate through consecutive steps, and store the gradients of the pre-activations."""
        if not self.in_kernel:
            super().backward(steps, dh_above, keep)
            return
        if steps.stop == len(dh_above):  # gradients are not carried across chunks
            self.kernel.dstate[...] = 0.0
        else:
            self.recurrent.add_state_gradient(steps.stop, dh_above[steps.stop - 1])
        du, da = self.recurrent.da[steps], self.other.da[steps]
        self.kernel.backward(steps, self.recurrent.used, dh_above[steps], du, da)


def new_layer(
    config: Config, weights: Weights, gradients: Weights, T: int, B: int, backend: Backend
) -> Layer:
    """Return a `KernelLayer` if the device has a kernel for the layer, otherwise a `Layer`."""
    cell, H, norm = config.cell, config.rnn_size, config.layer_norm
    arguments = cell, weights, gradients, H, T, B, backend, norm
    dtype = weights[cell.products[0].name].dtype
    kernel = None if norm or T == 1 else backend.chunk_kernel(cell.name, H, T, B, dtype)
    return Layer(*arguments) if kernel is None else KernelLayer(kernel, *arguments)
