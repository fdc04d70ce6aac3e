"""Output of ``minichar train``: the run, its progress, and advice.

The path of the best checkpoint is printed to standard output, everything else to standard error.
"""

import json
import sys
from math import inf, log
from pathlib import Path
from time import monotonic
from typing import Any

import click

from minichar.checkpoints.naming import is_checkpoint
from minichar.cli.advice import fit_advice, size_advice, updates_advice
from minichar.errors import MinicharError, Option
from minichar.sampling.generate import generate
from minichar.training.events import Evaluated, Event, Saved, Step
from minichar.training.start import Run

SAMPLE_LENGTH = 60
REFRESH = 0.1
"""Minimum time between progress bar updates, in seconds; each update copies the loss from the device."""
CLEAR_LINE = "\r\x1b[K"


class Report:
    """Context manager that prints the events of a training run.

    Parameters
    ----------
    run : Run
    print_every : int
        Number of chunks between log records, and between printed lines if there is no progress bar.
    log_path : Path, optional
        File to append JSON lines to.
    quiet : bool
        Hide the progress bar, even on a terminal.
    """

    def __init__(self, run: Run, print_every: int, log_path: Path | None, quiet: bool) -> None:
        self.run, self.trainer, self.print_every = run, run.trainer, print_every
        self.log_path = log_path
        self.log()  # raises now if the file cannot be written
        self.characters = run.trainer.split.B * run.trainer.split.T
        self.speed = Speed()
        self.last: Path | None = None
        self.measurements = 0
        self.shown_at = monotonic()
        self.introduce()
        remaining = self.trainer.iterations - self.trainer.iteration
        self.bar = click.progressbar(
            length=remaining,
            file=sys.stderr,
            hidden=quiet or not sys.stderr.isatty(),
            bar_template="%(label)s [%(bar)s] %(info)s",
            width=10,  # keeps the line within 80 columns
        )

    def __enter__(self) -> "Report":
        self.bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.bar.__exit__(*exception)

    def say(self, line: str) -> None:
        """Print a line, above the progress bar if there is one."""
        click.echo(line if self.bar.hidden else CLEAR_LINE + line, err=True)

    def introduce(self) -> None:
        """Print a description of the text, the model and the device."""
        corpus, split, model = self.run.corpus, self.trainer.split, self.trainer.model
        folder = self.trainer.settings.checkpoint_dir
        trained = len(split.train) * self.characters
        lines = [
            f"text       {corpus.path}: {len(corpus.ids):,} characters, {len(corpus.vocabulary):,} distinct",
            *(f"           {note}" for note in self.run.notes),
            f"split      {split.how}: {len(split.train):,} training, {len(split.val):,} validation, "
            f"{len(split.test):,} test chunks of {split.B}×{split.T}",
            f"model      {model.summary()}",
            f"           {size_advice(model.parameters.size, trained)}",
            f"device     {self.trainer.backend.describe()}",
        ]
        if advice := updates_advice(self.trainer.iterations):
            lines.append(f"           {advice}")
        if self.trainer.iteration:
            lines.append(f"resumed    at epoch {self.trainer.epoch:.2f}")
            lines += [f"           {Option(name).flag} is now {v}" for name, v in self.run.changes.items()]
        elif any(map(is_checkpoint, folder.glob("*.npz"))):
            lines += [
                f"warning    {folder}/ contains other checkpoints: minichar sample uses the best of all.",
                "           Set --checkpoint-dir to keep this run separate",
            ]
        for line in lines:
            click.echo(line, err=True)

    def show(self, event: Event) -> None:
        """Print an event."""
        match event:
            case Step():
                self.show_step(event)
            case Evaluated():
                self.show_evaluated(event)
            case Saved():
                self.last = event.path
                self.say(f"           saved {event.path}{' (best so far)' if event.best else ''}")

    def show_step(self, step: Step) -> None:
        """Advance the progress bar; every `print_every` chunks, print and log a line."""
        self.speed.count(self.characters)
        if step.iteration == 1:
            uniform = log(len(self.run.corpus.vocabulary))
            label = "untrained " if self.run.untrained else "first     "
            self.say(f"{label} loss {step.loss:.3f} (uniform baseline: ln V = {uniform:.3f})")
        due = step.iteration % self.print_every == 0
        if due or (not self.bar.hidden and monotonic() - self.shown_at >= REFRESH):
            self.shown_at = monotonic()
            epochs, loss = self.trainer.settings.max_epochs, step.loss
            self.bar.label = f"epoch {step.epoch:.2f}/{epochs}  loss {loss:.3f}  {self.speed} characters/s"
        self.bar.update(1)
        if due:
            if self.bar.hidden:
                self.say(self.bar.label)
            self.log(
                {
                    "event": "step",
                    "iteration": step.iteration,
                    "epoch": step.epoch,
                    "loss": loss,
                    "characters_per_second": self.speed.value,
                }
            )

    def show_evaluated(self, evaluated: Evaluated) -> None:
        """Print and log the losses, with advice and a line of generated text."""
        train, val = evaluated.train_loss, evaluated.val
        line = f"epoch {evaluated.epoch:.2f}  train {train:.4f}"
        if val:
            line += f"  validation {val.loss:.4f} nats = {val.bits:.3f} bits per character"
        self.say(line)
        if val:
            self.say(f"           validation: first chunk {val.first:.3f}, last {val.last:.3f}")
        fit = evaluated.fit
        if val and fit and evaluated.epoch >= 1:
            earlier = [row["val"]["loss"] for row in self.trainer.history[:-1] if row["val"]]
            if advice := fit_advice(fit.loss, val.loss, min(earlier, default=inf)):
                self.say(f"           {advice}")
                self.say(f"           training loss without dropout and scheduled sampling: {fit.loss:.4f}")
        self.measurements += 1
        every = self.trainer.settings.sample_every
        if every and self.measurements % every == 0:
            text = "".join(generate(self.trainer.model, SAMPLE_LENGTH, seed=evaluated.iteration))
            self.say(f"           sample: {text.replace(chr(10), ' / ')[:SAMPLE_LENGTH]}")
        self.log({"event": "evaluation"} | evaluated.row())
        self.speed.restart()

    def log(self, *records: dict[str, Any]) -> None:
        """Append records to the log file, if there is one."""
        if self.log_path is None:
            return
        try:
            with open(self.log_path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        except OSError as error:
            raise MinicharError(f"cannot write the log {self.log_path}: {error.strerror}") from error

    def finish(self) -> None:
        """Print suggested commands, and the path of the best checkpoint to standard output."""
        if self.trainer.stopping and self.last:
            click.echo(f"stopped at epoch {self.trainer.epoch:.2f}; resume with:", err=True)
            click.echo(f"  minichar train --resume {self.last}", err=True)
        best = self.trainer.best
        if best:
            click.echo(f"generate text: minichar sample {best}", err=True)
            click.echo(best)


class Speed:
    """Throughput in characters per second, averaged over about one second."""

    def __init__(self) -> None:
        self.value = 0.0
        self.restart()

    def restart(self) -> None:
        """Restart the measurement, to exclude time not spent on training."""
        self.since, self.counted = monotonic(), 0

    def count(self, characters: int) -> None:
        """Add the characters of one training step."""
        self.counted += characters
        elapsed = monotonic() - self.since
        if elapsed >= 1 or not self.value:
            self.value = self.counted / max(elapsed, 1e-9)
        if elapsed >= 1:
            self.restart()

    def __str__(self) -> str:
        return f"{self.value:,.0f}"
