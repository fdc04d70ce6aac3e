"""One stage of a layer's cell: matrix products, followed by a fused element-wise function."""

from functools import cached_property, wraps
from types import ModuleType
from typing import Any

from minichar.devices.backend import Array, Backend, Into
from minichar.engine.cell import Stage
from minichar.engine.linear import Linear


class LayerStage:
    """One stage of a layer's cell.

    Attributes
    ----------
    linears : list of Linear
        The linear layers, one per matrix product.
    recurrent : Linear
        The linear layer that takes the hidden state as input.
    forward, backward : callable
        The stage's element-wise functions, fused by the backend.
    caches : list of T tuples of arrays
        The arrays cached by `forward` at each step.
    """

    def __init__(self, stage: Stage, linears: list[Linear], T: int, backend: Backend) -> None:
        self.stage, self.linears, self.T, self.backend = stage, linears, T, backend
        (self.recurrent,) = (linear for linear in linears if linear.reads_h)
        self.forward, self.backward = backend.fuse(stage.forward), backend.fuse(stage.backward)
        self.caches: list[tuple[Array, ...]] = [()] * T

    @cached_property
    def das(self) -> list[Into]:
        """The arrays in which `backward` stores the pre-activation gradients at each step."""
        return [[(k, linear.da[t]) for k, linear in enumerate(self.linears)] for t in range(self.T)]

    def add_direct_gradient(self) -> None:
        """Make `backward` take a second gradient, the dh_prev from the next time step, and add it to dh."""
        backward = self.stage.backward

        @wraps(backward)
        def function(xp: ModuleType, dh: Array, dh_direct: Array, *others: Any) -> Any:
            return backward(xp, dh + dh_direct, *others)

        self.backward = self.backend.fuse(function)
