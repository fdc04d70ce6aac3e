"""The plain recurrent cell (Elman 1990).

a = W @ [h_prev; x; 1]
h = tanh(a)
"""

from types import ModuleType

from minichar.devices.backend import Array
from minichar.engine.functions import tanh_slope
from minichar.engine.parameters import Shapes
from minichar.engine.recurrent import Recurrent


class RNN(Recurrent):
    """``h = tanh(W @ [h_prev; x; 1])``. Parameters as `Recurrent`."""

    def build(self) -> None:
        """Lay out the workspaces."""
        self.gates = self.linear("W", self.onehot(), recurrent=self.H)
        self.elementwise_backward = self.backend.elementwise(elementwise_backward)
        self.states = (self.gates.x[:, : self.H],)
        self.x = self.gates.x[:, self.H :]  # (T+1, D, B)

    @staticmethod
    def shapes(H: int, D: int, V: int) -> Shapes:
        """Name and shape of ``W`` and, in a first layer, ``Wx``."""
        first: Shapes = {} if D else {"Wx": (H, V)}
        return {"W": (H, H + D + 1)} | first

    def step(self, t: int, ids: Array | None) -> None:
        """One step: ``h_prev, x → h``."""
        a = self.gates.step(t, ids)  # (H, B)
        self.xp.tanh(a, out=self.h[t + 1])

    def step_backward(self, t: int, *dstates: Array) -> tuple[Array, ...]:
        """One step back: ``dh → dh_prev``; leaves da in the workspace."""
        (dh,) = dstates
        self.elementwise_backward(dh, self.h[t + 1], self.gates.da)
        return (self.gates.step_backward(t),)

    def weight_gradients(self, n: int, ids: Array | None) -> None:
        """Sum dW over the chunk."""
        self.gates.weight_gradient(n, ids)

    def input_gradient(self, n: int) -> Array:
        """Return dx, ``(n, D, B)``."""
        return self.gates.input_gradient(n)


def elementwise_backward(xp: ModuleType, dh: Array, h: Array, da: Array) -> None:
    """``da = dh ∘ (1 - h²)``; all ``(H, B)``."""
    tanh_slope(xp, h, out=da)
    xp.multiply(da, dh, out=da)
