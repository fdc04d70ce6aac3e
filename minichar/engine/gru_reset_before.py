"""GRU (Cho et al. 2014, arXiv:1406.1078) with the reset gate *before* the matrix product.

    a = W @ [h_prev; x; 1]            H rows each for r and z
    r, z = σ(a_r), σ(a_z)
    rh = r ∘ h_prev
    a_n = Wn @ [rh; x; 1]
    n = tanh(a_n)
    h = (1 - z) ∘ n + z ∘ h_prev

Version 3 of the paper uses these equations. So does char-rnn's ``GRU.lua``, with z and 1 - z swapped.
PyTorch and cuDNN implement only the other variant, `minichar.engine.gru`.
"""

from types import ModuleType
from typing import Any

from minichar.devices.backend import Array
from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.functions import sigmoid
from minichar.engine.registry import register


def reset(xp: ModuleType, a: Array, h_prev: Array) -> Any:
    """Compute rh, z and h_prev from a and h_prev. All arrays are ``(H, B)``; ``a`` contains one per gate."""
    r, z = sigmoid(xp, a[:2])
    return r * h_prev, z, h_prev, (r, z, h_prev)


def reset_backward(xp: ModuleType, drh: Array, dz: Array, dh_prev: Array, cache: tuple[Array, ...]) -> Any:
    """Compute da and dh_prev (without the gradient through a) from drh, dz and dh_prev."""
    r, z, h_prev = cache

    # rh = r ∘ h_prev
    dr = drh * h_prev
    dh_prev = dh_prev + drh * r

    # r, z = σ(a_r), σ(a_z)
    da_r, da_z = dr * r * (1.0 - r), dz * z * (1.0 - z)
    return (da_r, da_z), dh_prev


def update(xp: ModuleType, a: Array, z: Array, h_prev: Array) -> Any:
    """Compute h from a, z and h_prev."""
    n = xp.tanh(a[0])
    h = (1.0 - z) * n + z * h_prev
    return h, (z, n, h_prev)


def update_backward(xp: ModuleType, dh: Array, cache: tuple[Array, ...]) -> Any:
    """Compute da, dz and dh_prev from dh."""
    z, n, h_prev = cache

    # h = (1 - z) ∘ n + z ∘ h_prev
    dn, dz, dh_prev = dh * (1.0 - z), dh * (h_prev - n), dh * z

    # n = tanh(a_n)
    da_n = dn * (1.0 - n * n)
    return (da_n,), dz, dh_prev


GRU_RESET_BEFORE = register(
    Cell(
        name="gru-reset-before",
        title="GRU (reset before the matrix product)",
        states="h",
        stages=(
            Stage((Product("W", "rz"),), reset, reset_backward, cache="r z h_prev"),
            Stage((Product("Wn", "n"),), update, update_backward, cache="z n h_prev"),
        ),
        takes_h_prev=True,
    )
)
