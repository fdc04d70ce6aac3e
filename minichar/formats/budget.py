"""Limits on the memory and computation needed to read a file, based on the file size."""

from minichar.errors import Refused


class Budget:
    """The memory or computation left for reading a file, and the reason to give if it is exceeded."""

    def __init__(self, amount: int, why: str) -> None:
        self.left, self.why = amount, why

    def spend(self, amount: int) -> None:
        """Deduct an amount from the budget. Raises `Refused` if less than `amount` is left."""
        self.left -= amount
        if self.left < 0:
            raise Refused(self.why)
