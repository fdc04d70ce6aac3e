"""The source of the input characters. Teacher forcing and scheduled sampling differ only in their feed."""

from collections.abc import Callable

from minichar.devices.backend import Array


class Feed:
    """The source of the input characters of a chunk. By default, all characters are known (teacher forcing).

    Subclasses that choose the characters override ``__call__`` and must store the characters in `ids`.

    Attributes
    ----------
    ids : array of int, (T, B)
        The input characters, for use in the backward pass. Some characters may be unknown until the last
        step has run.
    """

    def __init__(self, ids: Array) -> None:
        self.ids = ids

    def __call__(self, t: int, look: Callable[[], Array]) -> Array:
        """Return all known ids from step t onwards, ``(m, B)`` with m ≥ 1.

        They can depend on ``look()``, the logits ``(V, B)`` of step t-1, which are undefined at t = 0.
        """
        return self.ids[t:]


def teacher_forcing(inputs: Array) -> Feed:
    """Return a `Feed` of the true characters `inputs` ``(T, B)``."""
    return Feed(inputs)
