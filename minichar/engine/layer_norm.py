"""Layer normalisation of pre-activations (Ba, Kiros & Hinton 2016), without gain or bias (Xu et al. 2019).

The mean is taken over the H units, separately for each gate, time step and sequence:

    μ = mean(a)
    r = 1 / √(mean((a - μ)²) + ε)
    â = r (a - μ)

    da = r (dâ - mean(dâ) - â mean(dâ ∘ â))

The cell receives â instead of a. A bias that is the same for all units of a gate, such as the initial forget
bias of an LSTM, cancels out.
"""

from typing import Any

from minichar.devices.backend import Array, Backend

EPSILON = 1e-5
"""ε, which bounds r if all units have almost the same pre-activation."""


class LayerNorm:
    """Layer normalisation of the pre-activations of H units at T time steps."""

    def __init__(self, H: int, T: int, dtype: Any, backend: Backend) -> None:
        self.H, self.backend = H, backend
        self.ones = backend.zeros((1, H), dtype) + 1.0  # (1, H)
        self.keeps_caches = True
        self.caches: list[tuple[Array, ...]] = [()] * T

    def mean(self, a: Array) -> Array:
        """Return the mean over the units, ``(gates, 1, B)``, of an array ``(gates, H, B)``."""
        # Faster than xp.mean. The sum is exact if the backend's matrix products are exact.
        return self.backend.matmul(self.ones, a) / self.H

    def forward(self, t: int, a: Array) -> Array:
        """Return the normalised pre-activations â at step t. Both a and â are ``(gates, H, B)``."""
        centred = a - self.mean(a)
        r = 1.0 / self.backend.xp.sqrt(self.mean(centred * centred) + EPSILON)  # (gates, 1, B)
        a_hat = r * centred
        if self.keeps_caches:
            self.caches[t] = a_hat, r
        return a_hat

    def backward(self, t: int, da_hat: Array) -> Array:
        """Return the gradient da at step t, given dâ. Both gradients are ``(gates, H, B)``."""
        a_hat, r = self.caches[t]
        return r * (da_hat - self.mean(da_hat) - a_hat * self.mean(da_hat * a_hat))
