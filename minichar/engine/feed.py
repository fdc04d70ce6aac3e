"""The source of a network's input characters.

Teacher forcing and scheduled sampling differ only in the source of the input characters, called the feed.
"""

from collections.abc import Callable

from minichar.devices.backend import Array


class Feed:
    """The source of a chunk's input characters, all of which are known by default (teacher forcing).

    Subclasses that choose characters must override ``__call__`` and store the chosen characters in `ids`.

    Attributes
    ----------
    ids : array of int, (T, B)
        The input characters, for use in the backward pass. With scheduled sampling, some characters are
        unknown until the last step has run.
    """

    def __init__(self, ids: Array) -> None:
        self.ids = ids

    def __call__(self, t: int, look: Callable[[], Array]) -> Array:
        """Return all known ids from step t onwards, ``(m, B)`` with m ≥ 1.

        The ids can depend on ``look()``, the logits ``(V, B)`` of step t-1, which are undefined at t = 0.
        """
        return self.ids[t:]


def teacher_forcing(inputs: Array) -> Feed:
    """Return a `Feed` of the true characters `inputs` ``(T, B)``."""
    return Feed(inputs)
