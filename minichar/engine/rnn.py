"""The plain recurrent cell (Elman 1990).

a = W @ [h_prev; x; 1]
h = tanh(a)
"""

from minichar.backend import Array, Backend
from minichar.engine.functions import tanh_slope
from minichar.engine.parameters import Shapes
from minichar.engine.recurrent import Recurrent, Weights


class RNN(Recurrent):
    """``h = tanh(W @ [h_prev; x; 1])``. Parameters as `Recurrent`."""

    def __init__(
        self, weights: Weights, gradients: Weights, H: int, T: int, B: int, backend: Backend
    ) -> None:
        super().__init__(weights, gradients, H, T, B, backend)
        self.gates = self.linear("W", self.onehot())
        self.states = (self.gates.x[:, :H],)
        self.x = self.gates.x[:, H:]  # (T+1, D, B)

    @staticmethod
    def shapes(H: int, D: int, V: int) -> Shapes:
        return {"W": (H, H + D + 1)} | ({} if D else {"Wx": (H, V)})

    def step(self, t: int, ids: Array | None) -> None:
        a = self.gates.step(t, ids)  # (H, B)
        self.xp.tanh(a, out=self.h[t + 1])

    def step_backward(self, t: int, *dstates: Array) -> tuple[Array, ...]:
        xp = self.xp
        (dh,) = dstates

        # h = tanh(a)
        da = self.gates.da[t]  # (H, B)
        tanh_slope(xp, self.h[t + 1], out=da)
        xp.multiply(da, dh, out=da)

        # a = W @ [h_prev; x; 1]
        return (self.gates.step_backward(t)[: self.H],)

    def weight_gradients(self, n: int, ids: Array | None) -> Array:
        self.gates.weight_gradient(n, ids)
        return self.gates.dx[:n, self.H :]
