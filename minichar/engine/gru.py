"""GRU (Cho et al. 2014, arXiv:1406.1078) with the reset gate *after* the matrix product.

    u = U @ [h_prev; 1]               H rows each for r, z and n
    a = W @ [x; 1]                    the same rows
    r, z = σ(a_r + u_r), σ(a_z + u_z)
    n = tanh(a_n + r ∘ u_n)
    h = (1 - z) ∘ n + z ∘ h_prev

Version 1 of the paper, cuDNN, PyTorch and ONNX (with ``linear_before_reset=1``) use these equations.
The other variant, `minichar.engine.gru_reset_before`, applies the reset gate *before* the matrix product.
"""

from types import ModuleType
from typing import Any

from minichar.devices.backend import Array
from minichar.engine.cell import Cell, Product, Stage
from minichar.engine.functions import sigmoid
from minichar.engine.registry import register


def forward(xp: ModuleType, u: Array, a: Array, h_prev: Array) -> Any:
    """Return h and the cache ``(r, z, n, u_n, h_prev)``. u and a are one ``(H, B)`` each for r, z and n."""
    u_r, u_z, u_n = u
    a_r, a_z, a_n = a
    r, z = sigmoid(xp, a_r + u_r), sigmoid(xp, a_z + u_z)
    n = xp.tanh(a_n + r * u_n)
    h = (1.0 - z) * n + z * h_prev
    return h, (r, z, n, u_n, h_prev)


def backward(xp: ModuleType, dh: Array, cache: tuple[Array, ...]) -> Any:
    """Return du, da and dh_prev (without the path through u), given dh and the cache of `forward`."""
    r, z, n, u_n, h_prev = cache

    # h = (1 - z) ∘ n + z ∘ h_prev
    dn, dz, dh_prev = dh * (1.0 - z), dh * (h_prev - n), dh * z

    # n = tanh(a_n + r ∘ u_n)
    da_n = dn * (1.0 - n * n)
    dr, du_n = da_n * u_n, da_n * r

    # r, z = σ(a_r + u_r), σ(a_z + u_z)
    da_r, da_z = dr * r * (1.0 - r), dz * z * (1.0 - z)
    return (da_r, da_z, du_n), (da_r, da_z, da_n), dh_prev


GRU = register(
    Cell(
        name="gru",
        title="GRU",
        states="h",
        stages=(
            Stage(
                (Product("U", "rzn", reads_x=False), Product("W", "rzn", reads_state=False)),
                forward,
                backward,
                cache="r z n u_n h_prev",
            ),
        ),
        takes_h_prev=True,
    )
)
