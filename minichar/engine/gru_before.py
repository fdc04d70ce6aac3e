"""The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), its reset gate *before* the product.

    a = W @ [h_prev; x; 1]            rows r, z, each H high
    r, z = σ(a_r), σ(a_z)
    a_n = Wn @ [r ∘ h_prev; x; 1]
    n = tanh(a_n)
    h = (1 - z) ∘ n + z ∘ h_prev

Version 3 of the paper, and char-rnn's ``GRU.lua``, whose z is one minus this z. PyTorch and
cuDNN have only the other variant, `minichar.engine.gru`.
"""

from types import ModuleType

from minichar.devices.backend import Array
from minichar.engine.functions import sigmoid, sigmoid_slope
from minichar.engine.gru import blend, blend_backward
from minichar.engine.parameters import Shapes
from minichar.engine.recurrent import Recurrent


class GRUResetBefore(Recurrent):
    """The reset gate acts on ``h_prev`` itself. Parameters as `Recurrent`."""

    def build(self) -> None:
        """Lay out the workspaces."""
        self.gates = self.linear("W", self.onehot(slice(None, 2 * self.H)), recurrent=self.H)
        self.candidate = self.linear("Wn", self.onehot(slice(2 * self.H, None)), recurrent=self.H)
        self.elementwise_gates = self.backend.elementwise(gates)
        self.elementwise_blend = self.backend.elementwise(candidate_and_blend)
        self.elementwise_blend_backward = self.backend.elementwise(blend_backward)
        self.elementwise_reset_backward = self.backend.elementwise(reset_backward)
        self.states = (self.gates.x[:, : self.H],)
        self.x = self.gates.x[:, self.H :]  # (T+1, D, B)

    @staticmethod
    def shapes(H: int, D: int, V: int) -> Shapes:
        """Name and shape of ``W``, ``Wn`` and, in a first layer, ``Wx``."""
        first: Shapes = {} if D else {"Wx": (3 * H, V)}
        return {"W": (2 * H, H + D + 1), "Wn": (H, H + D + 1)} | first

    def step(self, t: int, ids: Array | None) -> None:
        """One step: ``h_prev, x → h``."""
        # From here on the values of the gates stand where their pre-activations stood.
        r, z = self.gates.step(t, ids).reshape(2, self.H, -1)  # each (H, B)
        self.elementwise_gates(r, z, self.h[t], self.candidate.x[t, : self.H])
        self.candidate.x[t, self.H :] = self.x[t]
        n = self.candidate.step(t, ids)  # (H, B)
        self.elementwise_blend(z, n, self.h[t], self.h[t + 1])

    def step_backward(self, t: int, *dstates: Array) -> tuple[Array, ...]:
        """One step back: ``dh → dh_prev``; leaves da in the workspaces."""
        (dh,) = dstates
        r, z = self.gates.a[t].reshape(2, self.H, -1)  # each (H, B)
        n = self.candidate.a[t]  # (H, B)
        da_r, da_z = self.gates.da.reshape(2, self.H, -1)  # each (H, B)
        self.elementwise_blend_backward(dh, z, n, self.h[t], self.scratch, da_z, self.candidate.da)

        # a_n = Wn @ [r ∘ h_prev; x; 1]
        d_rh = self.candidate.step_backward(t)  # (H, B)
        self.elementwise_reset_backward(dh, d_rh, r, self.h[t], self.scratch, da_r)

        # a = W @ [h_prev; x; 1]
        dh_prev = self.gates.step_backward(t)  # (H, B)
        self.xp.add(dh_prev, dh, out=dh_prev)
        return (dh_prev,)

    def weight_gradients(self, n: int, ids: Array | None) -> None:
        """Sum the gradients of the weights over the chunk."""
        self.gates.weight_gradient(n, ids)
        self.candidate.weight_gradient(n, ids)

    def input_gradient(self, n: int) -> Array:
        """Return dx, ``(n, D, B)``."""
        return self.gates.input_gradient(n) + self.candidate.input_gradient(n)


# What follows is element by element; every array is (H, B).


def gates(xp: ModuleType, r: Array, z: Array, h_prev: Array, rh: Array) -> None:
    """``r, z = σ(a)``, in place, and ``rh = r ∘ h_prev``."""
    sigmoid(xp, r, out=r)
    sigmoid(xp, z, out=z)
    xp.multiply(r, h_prev, out=rh)


def candidate_and_blend(xp: ModuleType, z: Array, n: Array, h_prev: Array, h: Array) -> None:
    """``n = tanh(a_n)``, in place, and h."""
    xp.tanh(n, out=n)
    blend(xp, z, n, h_prev, h)


def reset_backward(
    xp: ModuleType, dh: Array, d_rh: Array, r: Array, h_prev: Array, scratch: Array, da_r: Array
) -> None:
    """``dr = d_rh ∘ h_prev`` and so da_r; dh gains ``d_rh ∘ r``."""
    sigmoid_slope(xp, r, out=da_r)
    xp.multiply(da_r, h_prev, out=da_r)
    xp.multiply(da_r, d_rh, out=da_r)
    xp.multiply(d_rh, r, out=scratch)
    xp.add(dh, scratch, out=dh)
