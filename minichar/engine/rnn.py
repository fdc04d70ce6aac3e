"""The plain recurrent cell (Elman 1990).

    a = W @ [h_prev; x; 1]
    h = tanh(a)

Each step back in time multiplies the gradient by 1 - h² and by the recurrent weights, so the
gradient vanishes or explodes over many steps (Bengio, Simard & Frasconi 1994).
"""

from types import ModuleType
from typing import Any

from minichar.devices.backend import Array
from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.registry import register


def forward(xp: ModuleType, a: Array) -> Any:
    """Return h ``(H, B)`` and the cache ``(h,)``, given the pre-activation ``a[0]`` of the same shape."""
    h = xp.tanh(a[0])
    return h, (h,)


def backward(xp: ModuleType, dh: Array, cache: tuple[Array]) -> Any:
    """Return ``((da,),)``, one array for the one gate, given dh and the cache of `forward`."""
    (h,) = cache

    # h = tanh(a)
    da = dh * (1.0 - h * h)
    return ((da,),)


RNN = register(
    Cell(
        name="rnn",
        title="RNN",
        states="h",
        stages=(Stage((Product("W", "h"),), forward, backward, cache="h"),),
    )
)
