"""The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), its reset gate *after* the product.

    u = U @ [h_prev; 1]               rows r, z, n, each H high
    a = W @ [x; 1]                    rows r, z, n
    r, z = σ(a_r + u_r), σ(a_z + u_z)
    n = tanh(a_n + r ∘ u_n)
    h = (1 - z) ∘ n + z ∘ h_prev

Version 1 of the paper; cuDNN, PyTorch, and ONNX with ``linear_before_reset=1``. The other
variant is `minichar.engine.gru_before`.
"""

from types import ModuleType

from minichar.devices.backend import Array
from minichar.engine.functions import sigmoid, sigmoid_slope, tanh_slope
from minichar.engine.parameters import Shapes
from minichar.engine.recurrent import Recurrent


class GRUResetAfter(Recurrent):
    """The reset gate acts on ``U @ [h_prev; 1]``. Parameters as `Recurrent`."""

    def build(self) -> None:
        """Lay out the workspaces."""
        self.recurrent = self.linear("U", recurrent=self.H)
        self.input = self.linear("W", self.onehot())
        self.elementwise = self.backend.elementwise(elementwise)
        self.elementwise_backward = self.backend.elementwise(elementwise_backward)
        self.states = (self.recurrent.x,)
        self.x = self.input.x  # (T+1, D, B)

    @staticmethod
    def shapes(H: int, D: int, V: int) -> Shapes:
        """Name and shape of ``U``, ``W`` and, in a first layer, ``Wx``."""
        first: Shapes = {} if D else {"Wx": (3 * H, V)}
        return {"U": (3 * H, H + 1), "W": (3 * H, D + 1)} | first

    def step(self, t: int, ids: Array | None) -> None:
        """One step: ``h_prev, x → h``."""
        # From here on `a` holds the values of the gates.
        u = self.recurrent.step(t).reshape(3, self.H, -1)  # u_r, u_z, u_n, each (H, B)
        a = self.input.step(t, ids).reshape(3, self.H, -1)  # r, z, n, each (H, B)
        self.elementwise(*u, *a, self.h[t], self.scratch, self.h[t + 1])

    def step_backward(self, t: int, *dstates: Array) -> tuple[Array, ...]:
        """One step back: ``dh → dh_prev``; leaves da and du in the workspaces."""
        (dh,) = dstates
        u_n = self.recurrent.a[t, 2 * self.H :]  # (H, B)
        a = self.input.a[t].reshape(3, self.H, -1)  # r, z, n, each (H, B)
        du = self.recurrent.da.reshape(3, self.H, -1)  # each (H, B)
        da = self.input.da.reshape(3, self.H, -1)  # each (H, B)
        self.elementwise_backward(dh, u_n, *a, self.h[t], self.scratch, *du, *da)

        # u = U @ [h_prev; 1],  a = W @ [x; 1]
        dh_prev = self.recurrent.step_backward(t)  # (H, B)
        self.xp.add(dh_prev, dh, out=dh_prev)
        self.input.keep(t)
        return (dh_prev,)

    def weight_gradients(self, n: int, ids: Array | None) -> None:
        """Sum the gradients of the weights over the chunk."""
        self.recurrent.weight_gradient(n)
        self.input.weight_gradient(n, ids)

    def input_gradient(self, n: int) -> Array:
        """Return dx, ``(n, D, B)``."""
        return self.input.input_gradient(n)


# What follows is element by element; every array is (H, B).


def elementwise(
    xp: ModuleType,
    u_r: Array,
    u_z: Array,
    u_n: Array,
    r: Array,
    z: Array,
    n: Array,
    h_prev: Array,
    scratch: Array,
    h: Array,
) -> None:
    """From a and u to the gates and h; r, z and n hold a_r, a_z and a_n at first."""
    # r, z = σ(a + u)
    xp.add(r, u_r, out=r)
    sigmoid(xp, r, out=r)
    xp.add(z, u_z, out=z)
    sigmoid(xp, z, out=z)

    # n = tanh(a_n + r ∘ u_n)
    xp.multiply(r, u_n, out=scratch)
    xp.add(n, scratch, out=n)
    xp.tanh(n, out=n)

    blend(xp, z, n, h_prev, h)


def elementwise_backward(
    xp: ModuleType,
    dh: Array,
    u_n: Array,
    r: Array,
    z: Array,
    n: Array,
    h_prev: Array,
    scratch: Array,
    du_r: Array,
    du_z: Array,
    du_n: Array,
    da_r: Array,
    da_z: Array,
    da_n: Array,
) -> None:
    """From dh to da and du; dh becomes h_prev's share of it."""
    blend_backward(xp, dh, z, n, h_prev, scratch, da_z, da_n)

    # n = tanh(a_n + r ∘ u_n):  dr = da_n ∘ u_n,  du_n = da_n ∘ r
    sigmoid_slope(xp, r, out=da_r)
    xp.multiply(da_r, u_n, out=da_r)
    xp.multiply(da_r, da_n, out=da_r)
    xp.multiply(da_n, r, out=du_n)

    # r and z see only the sum a + u
    xp.multiply(da_r, 1.0, out=du_r)
    xp.multiply(da_z, 1.0, out=du_z)


def blend(xp: ModuleType, z: Array, n: Array, h_prev: Array, h: Array) -> None:
    """``h = (1 - z) ∘ n + z ∘ h_prev``, computed as ``n + z ∘ (h_prev - n)``."""
    xp.subtract(h_prev, n, out=h)
    xp.multiply(h, z, out=h)
    xp.add(h, n, out=h)


def blend_backward(
    xp: ModuleType, dh: Array, z: Array, n: Array, h_prev: Array, scratch: Array, da_z: Array, da_n: Array
) -> None:
    """From dh to da_z and da_n; dh becomes h_prev's share of it.

    dz = dh ∘ (h_prev - n),  dn = dh ∘ (1 - z),  dh_prev = dh ∘ z
    """
    # da_z = dz ∘ σ'
    sigmoid_slope(xp, z, out=da_z)
    xp.subtract(h_prev, n, out=scratch)
    xp.multiply(da_z, scratch, out=da_z)
    xp.multiply(da_z, dh, out=da_z)

    # da_n = dn ∘ tanh'
    tanh_slope(xp, n, out=da_n)
    xp.subtract(1.0, z, out=scratch)
    xp.multiply(da_n, scratch, out=da_n)
    xp.multiply(da_n, dh, out=da_n)

    xp.multiply(dh, z, out=dh)
