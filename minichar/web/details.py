"""Store each character's probability and most likely alternatives in 44 bytes instead of a kilobyte."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ALTERNATIVES = 5
"""Number of alternatives (the most likely characters) in a `Detail`."""
ROW = 1 + 2 * ALTERNATIVES
SIZE = 4 * ROW
"""Bytes per character."""
UNIT = 100_000
"""Probabilities are stored as multiples of ``1/UNIT``."""
NOTHING = 2**32 - 1
"""Placeholder code point for missing alternatives, if the vocabulary has too few characters."""

Detail = tuple[float, list[tuple[str, float]]]
"""The probability of a character, and the most likely alternatives with their probabilities."""


@dataclass(frozen=True)
class Details:
    """An immutable sequence of `Detail`.

    `packed` contains, for each character, its probability, the code points of the alternatives and their
    probabilities, as 32-bit integers.
    """

    packed: bytes = b""

    def __len__(self) -> int:
        return len(self.packed) // SIZE

    def __iter__(self) -> Iterator[Detail]:
        for row in np.frombuffer(self.packed, "<u4").reshape(-1, ROW).tolist():
            others = zip(row[1 : 1 + ALTERNATIVES], row[1 + ALTERNATIVES :], strict=True)
            yield row[0] / UNIT, [(chr(c), p / UNIT) for c, p in others if c != NOTHING]

    def after(self, n: int) -> "Details":
        """Return the details of all but the first `n` characters."""
        return Details(self.packed[n * SIZE :])


def pack(p: np.ndarray, ids: np.ndarray, points: np.ndarray) -> list[bytes]:
    """Pack each generated character's probability and most likely alternatives.

    `p` ``(V, n)`` contains the probabilities, `ids` ``(n,)`` the generated characters, and `points` ``(V,)``
    the code points of the vocabulary.
    """
    n, k = p.shape[1], min(ALTERNATIVES, len(p))
    most_likely = np.argsort(-p, axis=0, kind="stable")[:k]  # (k, n)
    units = np.rint(p * UNIT).astype("<u4")  # (V, n)
    rows = np.full((n, ROW), NOTHING, "<u4")
    rows[:, 0] = units[ids, np.arange(n)]
    rows[:, 1 : 1 + k] = points[most_likely].T
    rows[:, 1 + ALTERNATIVES : 1 + ALTERNATIVES + k] = np.take_along_axis(units, most_likely, axis=0).T
    return [row.tobytes() for row in rows]
