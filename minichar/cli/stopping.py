"""Save a checkpoint when training is interrupted."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from time import monotonic
from typing import Protocol

STOP = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Signals that stop the run: Ctrl-C, kill, a closed terminal, and a warning from a batch system."""
PATIENCE = 0.5
"""Time in seconds for which further signals are ignored after the first one."""


class Stoppable(Protocol):
    """Protocol for a trainer or sweep that can be stopped."""

    @property
    def is_saved(self) -> bool:
        """Whether all progress so far has been saved or is being saved."""

    def stop(self) -> None:
        """Save a checkpoint and stop as soon as possible. Safe to call from a signal handler."""


@contextmanager
def stopping(work: Stoppable, say: Callable[[str], None]) -> Iterator[list[int]]:
    """Save a checkpoint and stop training on any of the signals in `STOP`.

    A second signal at least `PATIENCE` seconds later raises KeyboardInterrupt, unless all progress has been
    saved or is being saved. All later signals are ignored until the end of the ``with`` block. Yields a list
    to which the number of the first signal is appended. Like `work.stop`, ``say(line)`` must be safe to call
    from a signal handler.
    """
    received: list[int] = []
    patient_until = inf

    def stop(number: int, frame: object) -> None:
        nonlocal patient_until
        if not received:
            received.append(number)
            work.stop()
            if number == signal.SIGINT:
                again = "" if work.is_saved else " (press Ctrl-C again to stop at once without saving)"
                say(f"stopping{again}")
            patient_until = monotonic() + PATIENCE
        elif monotonic() >= patient_until and not work.is_saved:
            patient_until = inf  # raise only once: a second exception could leave the cursor hidden
            raise KeyboardInterrupt("stopped without saving")

    numbers = [getattr(signal, name) for name in STOP if hasattr(signal, name)]
    # Under nohup and in a shell script's background jobs, some signals are ignored and must stay ignored.
    heeded = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_at_once(text: str) -> None:
    """Write to standard error. Unlike `click.echo`, this is safe in a signal handler.

    Python's buffered streams are not reentrant, so a handler that interrupts a write must not use the stream.
    """
    with suppress(OSError):  # the terminal may have been closed
        os.write(sys.stderr.fileno(), text.encode())
