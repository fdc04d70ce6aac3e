"""The speed of a training run, and estimates of how long it takes."""

from time import monotonic


class Speed:
    """Throughput in characters per second, averaged over about one second of training."""

    def __init__(self) -> None:
        self.value = self.seconds = 0.0
        self.counted = 0
        self.resume()

    def resume(self) -> None:
        """Exclude the time since the last training step from the measurement."""
        self.since = monotonic()

    def count(self, characters: int) -> None:
        """Count the characters processed in one training step."""
        self.counted += characters
        self.seconds += monotonic() - self.since
        self.resume()
        if self.seconds >= 1 or not self.value:
            self.value = self.counted / max(self.seconds, 1e-9)
        if self.seconds >= 1:
            self.counted, self.seconds = 0, 0.0

    def __str__(self) -> str:
        return f"{self.value:,.0f}"


def duration(seconds: float) -> str:
    """Format a duration, rounded to seconds, minutes or tenths of an hour."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def expected_end(iteration: int, total: int, left: float, per_step: float) -> int:
    """Return the step at which the run is expected to end: `total`, or earlier because of a time limit.

    There are `left` seconds until the limit. The result is larger than `iteration`, even at the limit, unless
    `iteration` is the last step.
    """
    steps = min(left / max(per_step, 1e-9), total)
    return min(total, iteration + max(1, round(steps)))
