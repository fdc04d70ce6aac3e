"""The plain recurrent cell (Elman 1990).

a = W @ [h_prev; x; 1]
h = tanh(a)
"""

from types import ModuleType
from typing import Any

from minichar.devices.backend import Array
from minichar.engine.cell import Cell, Counterpart, Product, Stage, register


def forward(xp: ModuleType, a: Array) -> Any:
    """``a → h``; every array is ``(H, B)``, and a has one per gate, here one."""
    h = xp.tanh(a[0])
    return h, (h,)


def backward(xp: ModuleType, dh: Array, cache: tuple[Array]) -> Any:
    """``dh → da``."""
    (h,) = cache

    # h = tanh(a)
    da_h = dh * (1.0 - h * h)
    return ((da_h,),)


RNN = register(
    Cell(
        name="rnn",
        title="RNN",
        states="h",
        stages=(Stage((Product("W", "h"),), forward, backward, cache="h"),),
        shown="h",
        torch=Counterpart("RNN", "h"),
        onnx=Counterpart("RNN", "h"),
    )
)
