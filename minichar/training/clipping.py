"""Two ways to keep a gradient from exploding (Pascanu, Mikolov & Bengio 2013).

    by element      g ← min(max(g, -limit), limit)
    by norm         g ← g · min(1, limit / ‖g‖)

Both act on the flat gradient of the mean loss, in place, after the backward pass.
"""

from types import ModuleType

from minichar.devices.backend import Array


def clip_elements(xp: ModuleType, g: Array, limit: float) -> None:
    """Clip every element of `g` to ±`limit`; char-rnn's way."""
    xp.clip(g, -limit, limit, out=g)


def clip_norm(xp: ModuleType, g: Array, limit: float) -> None:
    """Shorten `g` to Euclidean norm `limit` where it is longer; the direction stays."""
    norm = xp.sqrt((g * g).sum())
    g *= xp.minimum(1.0, limit / xp.maximum(norm, limit))
