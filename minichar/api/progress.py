"""Show the progress of `minichar.train` on standard error."""

import sys
from datetime import timedelta
from time import monotonic
from typing import Any

from minichar.terminal import fitting, say, terminal_width
from minichar.training.events import EndedEarly, Evaluated, Event, Extended, Measured, Step, Warned
from minichar.training.settings import HELD_OUT
from minichar.training.start import Run

REFRESH = 0.1
"""Minimum time between updates of the line, in seconds; each update copies the loss from the device."""
INTERVAL = 10.0
"""Maximum time between lines if none is updated, in seconds."""
FOREVER = 10**13
"""Upper limit on the remaining steps and seconds, so that `datetime.timedelta` does not overflow."""


class Progress:
    """Context manager that shows the epoch, losses, speed and remaining time.

    On a terminal and in a notebook, one line is updated in place; in a notebook, it is an output of its own.
    Elsewhere, a line is printed after each evaluation, and every `INTERVAL` seconds between evaluations. The
    run's notes are printed first.
    """

    def __init__(self, run: Run) -> None:
        self.trainer, self.first = run.trainer, run.trainer.iteration
        self.live = sys.stderr.isatty()
        self.in_notebook = type(sys.stderr).__module__.startswith("ipykernel.")
        self.interval = REFRESH if self.live or self.in_notebook else INTERVAL
        self.output: Any = None  # the output that shows the line in a notebook
        self.begun = self.shown_at = monotonic()
        self.validation: list[str] = []
        self.shown = False
        for note in run.notes:
            say(f"note: {note}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.live and self.shown:
            print(file=sys.stderr)

    def show(self, event: Event) -> None:
        """Write a progress line after every evaluation, and after a training step if an update is due."""
        match event:
            case Evaluated():
                if event.val is not None:
                    self.validation = [f"validation {event.val.loss:.3f}"]
                self.write(event.epoch, event.train_loss)
            case Extended():
                self.print(f"extended to {event.epochs:g} epochs, because training is faster than planned")
            case Warned():
                self.print(f"warning: {event.message}")
            case EndedEarly():
                self.print(f"ended early: {event.reason}")
            case Measured():
                self.print(f"{HELD_OUT[event.part]} file: {event.result or 'not measured: no time was left'}")
            case Step() if monotonic() - self.shown_at >= self.interval:
                self.write(event.epoch, event.loss)

    def print(self, line: str) -> None:
        """Print a line below the progress line."""
        if self.live and self.shown:
            print(file=sys.stderr)
            self.shown = False
        say(line)

    def write(self, epoch: float, loss: float) -> None:
        """Write a progress line.

        The displayed speed and remaining time take evaluation and saving into account.
        """
        trainer, now = self.trainer, monotonic()
        done = trainer.iteration - self.first
        seconds = (now - self.begun) / done  # per chunk
        speed = trainer.split.T * trainer.split.B / max(seconds, 1e-9)
        steps = min(trainer.iterations - trainer.iteration, FOREVER)
        left = timedelta(seconds=min(round(seconds * steps), FOREVER))
        parts = [f"epoch {epoch:.2f}/{trainer.settings.max_epochs:.4g}", f"loss {loss:.3f}", *self.validation]
        parts += [f"{speed:,.0f} characters/s", f"{left} left"]
        if self.in_notebook:
            self.display("  ".join(parts))
        else:
            line = f"\r{fitting(parts, parts):<{terminal_width() - 1}}" if self.live else "  ".join(parts)
            print(line, end="" if self.live else "\n", file=sys.stderr, flush=True)
        self.shown, self.shown_at = True, now

    def display(self, line: str) -> None:
        """Show a line in a notebook, in place of the previous one."""
        from IPython.display import display

        if self.output is None:
            self.output = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self.output.update({"text/plain": line}, raw=True)
