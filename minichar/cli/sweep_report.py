"""Output of ``minichar sweep`` to standard error: one line per trial, a progress line and a table."""

from shlex import join
from time import monotonic
from typing import Any

from minichar.cli.bar import CLEAR_LINE, ProgressLine
from minichar.cli.speed import duration
from minichar.errors import AUTOMATIC, counted, quoted, undashed
from minichar.sweep.study import results
from minichar.sweep.trials import Began, Ended, Sweep
from minichar.training.events import Event, Step

BEST = 10
"""Maximum number of trials in the table."""


class SweepReport:
    """Context manager that reports the events of a sweep of `trials` trials. `quiet` hides the progress."""

    def __init__(self, sweep: Sweep, trials: int, quiet: bool) -> None:
        self.sweep, self.trials = sweep, int(min(trials, sweep.size))
        self.line = ProgressLine(hidden=quiet)
        self.say, self.say_at_once = self.line.say, self.line.say_at_once
        self.notes: set[str] = set()
        searched = ", ".join(map(str, sweep.space))
        self.say(f"sweep      {sweep.folder}/: up to {counted(self.trials, 'trial')} over {searched}")

    def __enter__(self) -> "SweepReport":
        return self

    def __exit__(self, *exception: object) -> None:
        self.line.send(CLEAR_LINE)

    def show(self, event: Began | Event | Ended) -> None:
        """Report an event."""
        match event:
            case Began():
                self.number, self.trainer = event.number, event.run.trainer
                self.begun = monotonic()
                if self.trainer.iteration:
                    self.say(f"{f'trial {event.number}':11}resumed at epoch {self.trainer.epoch:.2f}")
                for note in event.run.notes:
                    if note not in self.notes:
                        self.notes.add(note)
                        self.say(f"{f'trial {event.number}':11}{note}")
            case Step() if self.line.due:
                epoch = f"epoch {event.epoch:.2f}/{self.trainer.settings.max_epochs:.4g}"
                parts = [f"trial {self.number}/{self.trials}", epoch, f"loss {event.loss:.3f}"]
                self.line.draw(parts, ranked=parts)
            case Ended():
                loss = "" if event.loss is None else f" {event.loss:.4f}"
                values = ", ".join(f"{name} {label(value)}" for name, value in event.values.items())
                ended = f"{event.state}{loss} in {duration(monotonic() - self.begun)}: {values}"
                self.say(f"{f'trial {event.number}':11}{ended}" + (f": {event.error}" if event.error else ""))

    def finish(self) -> None:
        """Print a table of the best trials and suggested commands."""
        if self.sweep.stopping and not self.sweep.complete:
            folder = undashed(self.sweep.folder)
            words = ["minichar", "sweep", "--sweep-dir", folder, "--trials", str(self.trials)]
            self.say("stopped; continue with:")
            self.say(f"  {join(words)}")
        ranked = results(self.sweep.study)
        if self.sweep.complete and (running := self.sweep.running()):
            self.say(f"not final: {counted(len(running), 'trial')} still running in other processes")
        if not ranked:
            self.say("no trial has been completed")
            return
        rows = [["trial", "validation", *(each.name for each in self.sweep.space)]]
        for result in ranked[:BEST]:
            cells = [label(result.values[each.name]) for each in self.sweep.space]
            rows.append([str(result.number), f"{result.loss:.4f}", *cells])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            self.say("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
        best = quoted(self.sweep.directory(ranked[0].number))
        self.say(f"generate   minichar sample {best} --temperature 0.8")
        self.say("retrain the best model:")


def label(value: Any) -> str:
    """Return a value as text: ``auto`` for None, and four significant digits for a float."""
    if value is None:
        return AUTOMATIC.flag
    return f"{value:.4g}" if isinstance(value, float) else str(value)
