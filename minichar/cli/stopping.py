"""Save a checkpoint when training is interrupted."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

STOP = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Signals that stop the run: Ctrl-C, kill, a closed terminal, and a warning from a batch system."""
PATIENCE = 0.5
"""Time in seconds after the first signal during which further signals are ignored."""


class Stoppable(Protocol):
    """Protocol for a trainer or sweep that can be stopped."""

    def stop(self) -> None:
        """Save a checkpoint and stop as soon as possible. Safe to call from a signal handler."""


@contextmanager
def stopping(work: Stoppable) -> Iterator[list[int]]:
    """Stop training on one of the signals in `STOP`, and save a checkpoint.

    A second signal at least `PATIENCE` seconds later raises KeyboardInterrupt. Yields a list that receives
    the number of the first signal.
    """
    received: list[int] = []
    stopped_at: list[float] = []

    def stop(number: int, frame: object) -> None:
        if not received:
            received.append(number)
            work.stop()
            stopped_at.append(monotonic())
        elif monotonic() - stopped_at[0] >= PATIENCE:
            raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in STOP if hasattr(signal, name)]
    # Some signals are ignored under nohup and in background jobs of shell scripts.
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
