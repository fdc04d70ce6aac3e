"""Layer normalisation of pre-activations (Ba, Kiros & Hinton 2016), without gain or bias (Xu et al. 2019).

The mean is taken over the H units, separately for each gate, time step and sequence:

    μ = mean(a)
    r = 1 / √(mean((a - μ)²) + ε)
    â = r (a - μ)

    da = r (dâ - mean(dâ) - â mean(dâ ∘ â))

The cell receives â instead of a. A bias that is the same for all units of a gate, such as the initial forget
bias of an LSTM, cancels out.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from minichar.devices.backend import Array, Backend

EPSILON = 1e-5
"""ε, which bounds r if all units have almost the same pre-activation."""


def forward(xp: ModuleType, mean: Callable[[Array], Array], a: Array) -> tuple[Array, Array]:
    """Return â ``(gates, H, B)`` and r ``(gates, 1, B)``. ``mean(a)`` is the mean of a over the units."""
    centred = a - mean(a)
    r = 1.0 / xp.sqrt(mean(centred * centred) + EPSILON)
    return centred * r, r


def backward(
    xp: ModuleType, mean: Callable[[Array], Array], da_hat: Array, a_hat: Array, r: Array
) -> tuple[Array]:
    """Return ``(da,)``, given dâ (`da_hat`), and a_hat and r from `forward`. `mean` is as in `forward`."""
    return ((da_hat - mean(da_hat) - a_hat * mean(da_hat * a_hat)) * r,)


class LayerNorm:
    """Layer normalisation of the pre-activations of H units at T time steps, for one stage of a cell."""

    def __init__(self, H: int, T: int, dtype: Any, backend: Backend) -> None:
        self.normalise = backend.fuse_with_mean(forward, H, dtype)
        self.gradient = backend.fuse_with_mean(backward, H, dtype)
        self.stores_caches = True
        self.caches: list[Sequence[Sequence[Array]]] = [()] * T

    def forward(self, t: int, a: Sequence[Array]) -> list[Array]:
        """Return â at step t, for the pre-activations a ``(gates, H, B)`` of each matrix product."""
        results = self.normalise(*([one] for one in a))
        if self.stores_caches:
            self.caches[t] = results
        return [a_hat for a_hat, _ in results]

    def backward(self, t: int, da_hat: Sequence[Array]) -> None:
        """Overwrite dâ ``(gates, H, B)`` of each matrix product at step t with the gradient da."""
        arguments = [(one, *cache) for one, cache in zip(da_hat, self.caches[t], strict=True)]
        self.gradient(*arguments, out=da_hat)
