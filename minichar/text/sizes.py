"""Choose the batch size and the sequence length for a text."""

from collections.abc import Callable

LARGEST_B, SMALLEST_B = 50, 4
USUAL_T, SHORTEST_T = 50, 25
CHUNKS = 100
"""Minimum number of chunks in a text. B is reduced to reach it, so that an epoch has enough steps."""
ALLOWED = 0.01
"""Fraction of the text that may be left out. T is reduced to leave out less."""


def choose_sizes(N: int, B: int, T: int, left_out: Callable[[int, int], int]) -> tuple[int, int]:
    """Return the batch size and the sequence length for `N` characters.

    Parameters
    ----------
    N : int
    B, T : int
        The values requested by the user, which are kept; 0 to choose one.
    left_out : callable
        ``left_out(B, T)`` returns the number of characters that are in no chunk.
    """
    B = B or min(max(N // (CHUNKS * (T or USUAL_T)), SMALLEST_B), LARGEST_B)
    if T:
        return B, T
    lengths = range(USUAL_T, SHORTEST_T - 1, -1)
    enough = (T for T in lengths if left_out(B, T) <= ALLOWED * N)
    return B, next(enough, None) or min(lengths, key=lambda T: left_out(B, T))
