"""Notice when training steps have become slow, for example because other programs use the same cores."""

from math import inf

SLOW = 2.0
"""Steps are slow if they take more than this many times as long as the fastest."""
PERIOD, LONGEST = 5.0, 60.0
"""Duration in seconds of the first period, and the maximum duration of a period."""


class Pace:
    """The mean duration of the training steps in each period, excluding evaluations.

    The steps of the first period count as slow, because there are no others to compare them with. Each slow
    period doubles the duration of the next ones, because finding out the cause takes time.
    """

    def __init__(self) -> None:
        self.period, self.fastest = PERIOD, 0.0
        self.seconds, self.steps = 0.0, 0

    def is_slow(self, seconds: float) -> bool:
        """Count a step, and return whether it ends a period in which steps were slow."""
        self.seconds, self.steps = self.seconds + seconds, self.steps + 1
        if self.seconds < self.period:
            return False
        mean = self.seconds / self.steps
        slow = mean > SLOW * self.fastest
        self.fastest = min(mean, self.fastest or inf)
        self.seconds, self.steps = 0.0, 0
        if slow:
            self.period = min(2 * self.period, LONGEST)
        return slow
