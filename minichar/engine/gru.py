"""The gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), in its two variants.

Reset *after* the product (version 1 of the paper; cuDNN, PyTorch, ONNX ``linear_before_reset=1``):

    u = U @ [h_prev; 1]               rows r, z, n, each H high
    a = W @ [x; 1]                    rows r, z, n
    r, z = σ(a_r + u_r), σ(a_z + u_z)
    n = tanh(a_n + r ∘ u_n)
    h = (1 - z) ∘ n + z ∘ h_prev

Reset *before* it (version 3; char-rnn's ``GRU.lua``, whose z is one minus this z):

    a = W @ [h_prev; x; 1]            rows r, z
    r, z = σ(a_r), σ(a_z)
    a_n = Wn @ [r ∘ h_prev; x; 1]
    n = tanh(a_n)
    h = (1 - z) ∘ n + z ∘ h_prev
"""

from minichar.backend import Array
from minichar.engine.functions import sigmoid, sigmoid_slope, tanh_slope
from minichar.engine.parameters import Shapes
from minichar.engine.recurrent import Recurrent


class GRU(Recurrent):
    """What both variants do once the gates are known: blend the candidate with the old state."""

    def blend(self, z: Array, n: Array, h_prev: Array, out: Array) -> None:
        """``out = (1 - z) ∘ n + z ∘ h_prev``, computed as ``n + z ∘ (h_prev - n)``; all ``(H, B)``."""
        xp = self.xp
        xp.subtract(h_prev, n, out=out)
        xp.multiply(out, z, out=out)
        xp.add(out, n, out=out)

    def blend_backward(self, dh: Array, z: Array, n: Array, h_prev: Array, da_z: Array, da_n: Array) -> None:
        """Write the gradients before σ and tanh of z and n; `dh` becomes ``dh ∘ z``, h_prev's share.

        dz = dh ∘ (h_prev - n),  dn = dh ∘ (1 - z),  dh_prev = dh ∘ z
        """
        xp = self.xp

        # da_z = dz ∘ σ'
        sigmoid_slope(xp, z, out=da_z)
        xp.subtract(h_prev, n, out=self.scratch)
        xp.multiply(da_z, self.scratch, out=da_z)
        xp.multiply(da_z, dh, out=da_z)

        # da_n = dn ∘ tanh'
        tanh_slope(xp, n, out=da_n)
        xp.subtract(1.0, z, out=self.scratch)
        xp.multiply(da_n, self.scratch, out=da_n)
        xp.multiply(da_n, dh, out=da_n)

        xp.multiply(dh, z, out=dh)


class GRUResetAfter(GRU):
    """The reset gate acts on ``U @ [h_prev; 1]``. Parameters as `Recurrent`."""

    def build(self) -> None:
        """Lay out the workspaces."""
        self.recurrent = self.linear("U")
        self.input = self.linear("W", self.onehot())
        self.states = (self.recurrent.x,)
        self.x = self.input.x  # (T+1, D, B)

    @staticmethod
    def shapes(H: int, D: int, V: int) -> Shapes:
        """Name and shape of ``U``, ``W`` and, in a first layer, ``Wx``."""
        first: Shapes = {} if D else {"Wx": (3 * H, V)}
        return {"U": (3 * H, H + 1), "W": (3 * H, D + 1)} | first

    def step(self, t: int, ids: Array | None) -> None:
        """One step: ``h_prev, x → h``."""
        xp, H = self.xp, self.H
        u = self.recurrent.step(t)  # (3H, B)
        a = self.input.step(t, ids)  # (3H, B)
        r, z, n = a.reshape(3, H, -1)  # each (H, B)

        # r, z = σ(a + u);  the values take the place of the pre-activations
        xp.add(a[: 2 * H], u[: 2 * H], out=a[: 2 * H])
        sigmoid(xp, a[: 2 * H], out=a[: 2 * H])

        # n = tanh(a_n + r ∘ u_n)
        xp.multiply(r, u[2 * H :], out=self.scratch)
        xp.add(n, self.scratch, out=n)
        xp.tanh(n, out=n)

        self.blend(z, n, self.h[t], out=self.h[t + 1])

    def step_backward(self, t: int, *dstates: Array) -> tuple[Array, ...]:
        """One step back: ``dh → dh_prev``; leaves da and du in the workspaces."""
        xp, H = self.xp, self.H
        (dh,) = dstates
        u_n = self.recurrent.a[t, 2 * H :]  # (H, B)
        r, z, n = self.input.a[t].reshape(3, H, -1)  # each (H, B)
        du, da = self.recurrent.da[t], self.input.da[t]  # (3H, B)
        da_r, da_z, da_n = da.reshape(3, H, -1)  # each (H, B)

        # h = (1 - z) ∘ n + z ∘ h_prev
        self.blend_backward(dh, z, n, self.h[t], da_z, da_n)

        # n = tanh(a_n + r ∘ u_n):  dr = da_n ∘ u_n,  du_n = da_n ∘ r
        sigmoid_slope(xp, r, out=da_r)
        xp.multiply(da_r, u_n, out=da_r)
        xp.multiply(da_r, da_n, out=da_r)
        xp.multiply(da_n, r, out=du[2 * H :])

        # r and z see only the sum a + u
        du[: 2 * H] = da[: 2 * H]

        # u = U @ [h_prev; 1],  a = W @ [x; 1]
        dh_prev = self.recurrent.step_backward(t)  # (H, B)
        xp.add(dh_prev, dh, out=dh_prev)
        self.input.step_backward(t)
        return (dh_prev,)

    def weight_gradients(self, n: int, ids: Array | None) -> Array:
        """Sum the gradients of the weights over the chunk; return dx ``(n, D, B)``."""
        self.recurrent.weight_gradient(n)
        self.input.weight_gradient(n, ids)
        return self.input.dx[:n]


class GRUResetBefore(GRU):
    """The reset gate acts on ``h_prev`` itself. Parameters as `Recurrent`."""

    def build(self) -> None:
        """Lay out the workspaces."""
        self.gates = self.linear("W", self.onehot(slice(None, 2 * self.H)))
        self.candidate = self.linear("Wn", self.onehot(slice(2 * self.H, None)))
        self.states = (self.gates.x[:, : self.H],)
        self.x = self.gates.x[:, self.H :]  # (T+1, D, B)

    @staticmethod
    def shapes(H: int, D: int, V: int) -> Shapes:
        """Name and shape of ``W``, ``Wn`` and, in a first layer, ``Wx``."""
        first: Shapes = {} if D else {"Wx": (3 * H, V)}
        return {"W": (2 * H, H + D + 1), "Wn": (H, H + D + 1)} | first

    def step(self, t: int, ids: Array | None) -> None:
        """One step: ``h_prev, x → h``."""
        xp, H = self.xp, self.H
        h_prev = self.h[t]  # (H, B)

        # r, z = σ(a);  the values take the place of the pre-activations
        a = self.gates.step(t, ids)  # (2H, B)
        sigmoid(xp, a, out=a)
        r, z = a.reshape(2, H, -1)  # each (H, B)

        # n = tanh(Wn @ [r ∘ h_prev; x; 1])
        xp.multiply(r, h_prev, out=self.candidate.x[t, :H])
        self.candidate.x[t, H:] = self.x[t]
        n = self.candidate.step(t, ids)  # (H, B)
        xp.tanh(n, out=n)

        self.blend(z, n, h_prev, out=self.h[t + 1])

    def step_backward(self, t: int, *dstates: Array) -> tuple[Array, ...]:
        """One step back: ``dh → dh_prev``; leaves da in the workspaces."""
        xp, H = self.xp, self.H
        (dh,) = dstates
        h_prev = self.h[t]  # (H, B)
        r, z = self.gates.a[t].reshape(2, H, -1)  # each (H, B)
        n = self.candidate.a[t]  # (H, B)
        da_r, da_z = self.gates.da[t].reshape(2, H, -1)  # each (H, B)

        # h = (1 - z) ∘ n + z ∘ h_prev
        self.blend_backward(dh, z, n, h_prev, da_z, self.candidate.da[t])

        # a_n = Wn @ [r ∘ h_prev; x; 1]:  dr = d(r ∘ h_prev) ∘ h_prev,  dh_prev += d(r ∘ h_prev) ∘ r
        d_rh = self.candidate.step_backward(t)[:H]  # (H, B)
        sigmoid_slope(xp, r, out=da_r)
        xp.multiply(da_r, h_prev, out=da_r)
        xp.multiply(da_r, d_rh, out=da_r)
        xp.multiply(d_rh, r, out=self.scratch)
        xp.add(dh, self.scratch, out=dh)

        # a = W @ [h_prev; x; 1]
        dh_prev = self.gates.step_backward(t)[:H]  # (H, B)
        xp.add(dh_prev, dh, out=dh_prev)
        return (dh_prev,)

    def weight_gradients(self, n: int, ids: Array | None) -> Array:
        """Sum the gradients of the weights over the chunk; return dx ``(n, D, B)``."""
        self.gates.weight_gradient(n, ids)
        self.candidate.weight_gradient(n, ids)
        return self.gates.dx[:n, self.H :] + self.candidate.dx[:n, self.H :]
