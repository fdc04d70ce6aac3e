"""The source of a chunk's input characters, which is the only difference between ways of running a network.

teacher forcing         x_t = the true character
scheduled sampling      x_t = the true character, or the model's prediction (`minichar.training`)
"""

from collections.abc import Callable

from minichar.devices.backend import Array


class Feed:
    """The source of the input characters of a chunk. By default, these are the true characters (teacher forcing).

    Attributes
    ----------
    ids : array of int, (T, B)
        The input characters, of which those up to step t are known in step t.
    """

    def __init__(self, ids: Array) -> None:
        self.ids = ids

    def __call__(self, t: int, look: Callable[[], Array]) -> Array:
        """Return the ids ``(B,)`` for step t, which can depend on the logits of step t-1, ``look()`` ``(V, B)``.

        At t = 0, there is no previous step and the logits are undefined.
        """
        return self.ids[t]


def teacher_forcing(inputs: Array) -> Feed:
    """Return a `Feed` of the true characters `inputs` ``(T, B)``."""
    return Feed(inputs)
