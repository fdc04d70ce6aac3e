"""The long short-term memory cell (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    a = W @ [h_prev; x; 1]            rows i, f, o, g, each H high
    i, f, o = σ(a_i), σ(a_f), σ(a_o)
    g = tanh(a_g)
    c = f ∘ c_prev + i ∘ g
    h = o ∘ tanh(c)

No peepholes; the order of the gates is char-rnn's.
"""

from types import ModuleType

from minichar.devices.backend import Array
from minichar.engine.functions import sigmoid, sigmoid_slope, tanh_slope
from minichar.engine.parameters import Shapes
from minichar.engine.recurrent import Recurrent


class LSTM(Recurrent):
    """Four gates in one product; states h and c. Parameters as `Recurrent`."""

    n_states = 2

    def build(self) -> None:
        """Lay out the workspaces."""
        self.gates = self.linear("W", self.onehot(), recurrent=self.H)
        self.sigmoid = self.backend.elementwise(sigmoid)
        self.sigmoid_slope = self.backend.elementwise(sigmoid_slope)
        self.elementwise = self.backend.elementwise(elementwise)
        self.elementwise_backward = self.backend.elementwise(elementwise_backward)
        self.c = self.zeros(self.T + 1, self.H, self.B)  # (T+1, H, B)
        self.tanh_c = self.zeros(self.T, self.H, self.B)  # (T, H, B)
        self.states = (self.gates.x[:, : self.H], self.c)
        self.x = self.gates.x[:, self.H :]  # (T+1, D, B)

    @staticmethod
    def shapes(H: int, D: int, V: int) -> Shapes:
        """Name and shape of ``W`` and, in a first layer, ``Wx``."""
        first: Shapes = {} if D else {"Wx": (4 * H, V)}
        return {"W": (4 * H, H + D + 1)} | first

    def step(self, t: int, ids: Array | None) -> None:
        """One step: ``h_prev, c_prev, x → h, c``."""
        # From here on `a` holds the values of the gates: the backward pass needs no more.
        a = self.gates.step(t, ids)  # (4H, B)
        ifo = a[: 3 * self.H]  # (3H, B): the sigmoids in one sweep, since small calls cost more than numbers
        self.sigmoid(ifo, ifo)
        i, f, o, g = a.reshape(4, self.H, -1)  # each (H, B)
        self.elementwise(i, f, o, g, self.c[t], self.scratch, self.c[t + 1], self.tanh_c[t], self.h[t + 1])

    def step_backward(self, t: int, *dstates: Array) -> tuple[Array, ...]:
        """One step back: ``dh, dc → dh_prev, dc_prev``; leaves da in the workspace."""
        dh, dc = dstates
        a, da = self.gates.a[t], self.gates.da  # each (4H, B)
        self.sigmoid_slope(a[: 3 * self.H], da[: 3 * self.H])
        i, f, o, g = a.reshape(4, self.H, -1)  # each (H, B)
        da_i, da_f, da_o, da_g = da.reshape(4, self.H, -1)  # each (H, B)
        self.elementwise_backward(
            dh, dc, i, f, o, g, self.c[t], self.tanh_c[t], self.scratch, da_i, da_f, da_o, da_g
        )
        return self.gates.step_backward(t), dc

    def weight_gradients(self, n: int, ids: Array | None) -> None:
        """Sum dW over the chunk."""
        self.gates.weight_gradient(n, ids)

    def input_gradient(self, n: int) -> Array:
        """Return dx, ``(n, D, B)``."""
        return self.gates.input_gradient(n)


def elementwise(
    xp: ModuleType,
    i: Array,
    f: Array,
    o: Array,
    g: Array,
    c_prev: Array,
    scratch: Array,
    c: Array,
    tanh_c: Array,
    h: Array,
) -> None:
    """From i, f, o and a_g, whose place g takes, to the states; all ``(H, B)``."""
    xp.tanh(g, out=g)

    # c = f ∘ c_prev + i ∘ g
    xp.multiply(f, c_prev, out=c)
    xp.multiply(i, g, out=scratch)
    xp.add(c, scratch, out=c)

    # h = o ∘ tanh(c)
    xp.tanh(c, out=tanh_c)
    xp.multiply(o, tanh_c, out=h)


def elementwise_backward(
    xp: ModuleType,
    dh: Array,
    dc: Array,
    i: Array,
    f: Array,
    o: Array,
    g: Array,
    c_prev: Array,
    tanh_c: Array,
    scratch: Array,
    da_i: Array,
    da_f: Array,
    da_o: Array,
    da_g: Array,
) -> None:
    """From the gradients of the states to those of the pre-activations; all ``(H, B)``.

    da_i, da_f and da_o hold the slopes of their gates at first; dc becomes dc_prev.
    """
    # h = o ∘ tanh(c):  do = dh ∘ tanh(c),  dc += dh ∘ o ∘ (1 - tanh²(c))
    tanh_slope(xp, tanh_c, out=scratch)
    xp.multiply(scratch, o, out=scratch)
    xp.multiply(scratch, dh, out=scratch)
    xp.add(dc, scratch, out=dc)

    # c = f ∘ c_prev + i ∘ g:  di = dc ∘ g,  df = dc ∘ c_prev,  dg = dc ∘ i,  dc_prev = dc ∘ f.
    # Through the non-linearities: da = slope ∘ d(gate).
    tanh_slope(xp, g, out=da_g)
    for da_gate, d_gate, factor in (
        (da_i, dc, g),
        (da_f, dc, c_prev),
        (da_o, dh, tanh_c),
        (da_g, dc, i),
    ):
        xp.multiply(da_gate, d_gate, out=da_gate)
        xp.multiply(da_gate, factor, out=da_gate)
    xp.multiply(dc, f, out=dc)
