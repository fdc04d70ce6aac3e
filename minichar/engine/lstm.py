"""The long short-term memory cell (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    a = W @ [h_prev; x; 1]            H rows each for i, f, o and g
    i, f, o = σ(a_i), σ(a_f), σ(a_o)
    g = tanh(a_g)
    c = f ∘ c_prev + i ∘ g
    h = o ∘ tanh(c)

There are no peephole connections. The gates are in char-rnn's order. The forget gate's bias is initialised
to 1, so that gradients flow through time from the start of training (Jozefowicz et al. 2015). Layer
normalisation cancels this bias.
"""

from types import ModuleType
from typing import Any

from minichar.devices.backend import Array
from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.functions import sigmoid
from minichar.engine.registry import register


def forward(xp: ModuleType, a: Array, c_prev: Array) -> Any:
    """Return h, c and the cache ``(i, f, o, g, c_prev, tanh_c)``. a is a_i, a_f, a_o, a_g, all ``(H, B)``."""
    i, f, o = sigmoid(xp, a[:3])
    g = xp.tanh(a[3])
    c = f * c_prev + i * g
    tanh_c = xp.tanh(c)
    h = o * tanh_c
    return h, c, (i, f, o, g, c_prev, tanh_c)


def backward(xp: ModuleType, dh: Array, dc: Array, cache: tuple[Array, ...]) -> Any:
    """Return ``(da_i, da_f, da_o, da_g)`` and dc_prev, given dh, dc and the cache of `forward`."""
    i, f, o, g, c_prev, tanh_c = cache

    # h = o ∘ tanh(c)
    do = dh * tanh_c
    dc = dc + dh * o * (1.0 - tanh_c * tanh_c)

    # c = f ∘ c_prev + i ∘ g
    df, dc_prev = dc * c_prev, dc * f
    di, dg = dc * g, dc * i

    # i, f, o = σ(a_i), σ(a_f), σ(a_o);  g = tanh(a_g)
    da_i, da_f, da_o = di * i * (1.0 - i), df * f * (1.0 - f), do * o * (1.0 - o)
    da_g = dg * (1.0 - g * g)
    return (da_i, da_f, da_o, da_g), dc_prev


LSTM = register(
    Cell(
        name="lstm",
        title="LSTM",
        states="hc",
        stages=(Stage((Product("W", "ifog"),), forward, backward, cache="i f o g c_prev tanh_c"),),
        biases={"f": 1.0},
    )
)
