"""Limit what a file can cost, in proportion to its size."""


class Refused(Exception):
    """Raised when a file is rejected. The message is the reason."""


class Budget:
    """An amount of memory or work that a file may use.

    Parameters
    ----------
    amount : int
    why : str
        Reason for rejecting the file if it needs more.
    """

    def __init__(self, amount: int, why: str) -> None:
        self.left, self.why = amount, why

    def spend(self, amount: int) -> None:
        """Use up an amount.

        Raises
        ------
        Refused
            If less than `amount` is left.
        """
        self.left -= amount
        if self.left < 0:
            raise Refused(self.why)
