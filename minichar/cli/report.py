"""Output of ``minichar train``: a summary of the run, its progress, and advice.

Only the path of the best checkpoint is printed to standard output, unless that and standard error are both a
terminal. All other output goes to standard error.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import inf, log
from pathlib import Path
from time import monotonic
from typing import Any

from minichar.checkpoints.choosing import newest_first
from minichar.checkpoints.naming import is_checkpoint, loss_in_name
from minichar.checks import AUTO
from minichar.cli.advice import NEGLIGIBLE, fit_advice, length_advice, updates_advice, verdict
from minichar.cli.bar import Bar, with_bar
from minichar.cli.log import Log
from minichar.cli.options import print_path
from minichar.cli.planned import another, larger_model, plan_of, size_advice
from minichar.cli.speed import Speed, duration, expected_end
from minichar.cli.text_advice import text_advice
from minichar.devices.cpu import CPU
from minichar.errors import AUTOMATIC, Option, quoted
from minichar.model import CharRNN
from minichar.sampling.generate import Generation, generate
from minichar.training.events import EndedEarly, Evaluated, Event, Extended, Saved, Step, Warned
from minichar.training.final import measure_files
from minichar.training.settings import HELD_OUT
from minichar.training.start import Run
from minichar.training.text import what_is_left_out

SAMPLE_LENGTH = 60
ESTIMATE_AFTER = 3.0
"""Time in seconds from the end of the first chunk until the duration of the run is estimated.

If other programs use the same cores, the time of a single chunk can be many times the average.
"""
SAMPLE_AFTER = 10.0
"""Time in seconds after which a line of text is generated even if the model has not been evaluated yet."""
SAMPLE_PAUSE = 5.0
"""Minimum time in seconds between generated lines: a short text is evaluated several times per second."""
WORSE = 1.01
"""Factor by which a checkpoint's loss exceeds the lowest one from which on this is reported on resuming."""
LONGER = 3
"""Factor by which to extend a run if its loss is above the yardstick."""


def share(fraction: float) -> str:
    """Return a fraction in percent. Only all of a text is 100%."""
    if 0.99 < fraction < 1:
        return ">99%"
    return "<1%" if fraction < 0.01 else f"{fraction:.0%}"


def sample_line(model: CharRNN, seed: int) -> str:
    """Return some generated text on one line. Each ↵ stands for newlines and the spaces beside them."""
    text = "".join(generate(model, Generation(length=SAMPLE_LENGTH, seed=seed))).strip()
    return re.sub(r"\s*\n\s*", " ↵ ", text).replace("\t", " ")[:SAMPLE_LENGTH]


class Report:
    """Context manager that reports the events of a training run.

    A record is appended to the file `log_path`, if any, every `print_every` chunks. If standard error is not
    a terminal and `quiet` is False, a line is also printed. `from_scratch` is False if a trained model is
    fine-tuned.
    """

    def __init__(
        self,
        run: Run,
        print_every: int,
        log_path: Path | None,
        quiet: bool,
        from_scratch: bool = True,
    ) -> None:
        self.from_scratch = from_scratch
        self.run, self.trainer, self.print_every = run, run.trainer, print_every
        self.quiet = quiet
        self.log = Log(log_path, lambda message: self.say(f"warning    {message}"))
        split = run.trainer.split
        self.characters = split.B * split.T
        self.ratio = run.trainer.model.parameters.size / (len(split.train) * self.characters)
        self.uniform = log(len(run.corpus.vocabulary))
        self.speed = Speed()
        self.measurements = 0
        self.begun = monotonic()
        self.first = self.trainer.iteration
        self.first_chunk_end: tuple[float, int] | None = None
        self.estimated = False
        self.sampled_at = -inf  # as measured by `monotonic`
        self.shows_loss = False  # whether the next checkpoint is that of a validation loss that was shown
        self.advised: set[str] = set()  # kinds of advice that have been given
        self.bar = Bar(self.trainer.iterations, hidden=quiet, first=self.first)

    def __enter__(self) -> "Report":
        for line in self.introduction():
            self.say(line)
        with self.display():
            self.bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        with self.display():
            self.bar.__exit__(*exception)

    @contextmanager
    def display(self) -> Iterator[None]:
        """Write to standard error. If the terminal or pipe has been closed, training continues silently."""
        try:
            yield
        except OSError:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115  (stays open until the process exits)
            self.bar.hidden = True

    def say(self, line: str) -> None:
        """Print a line above the progress bar, if any."""
        with self.display():
            self.bar.say(line)

    def introduction(self) -> list[str]:
        """Return lines that describe the text, the model and the device."""
        corpus, split, model = self.run.corpus, self.trainer.split, self.trainer.model
        files = f"{len(corpus.starts):,} files, " if len(corpus.starts) > 1 else ""
        size = f"{len(corpus.ids):,} characters, {corpus.distinct:,} distinct"
        notes = [*self.run.notes]
        if not self.trainer.iteration:  # a resumed run cannot follow the advice
            notes += length_advice(len(corpus.ids)) + text_advice(corpus, self.trainer.settings)
        parts = {"training": len(split.train), "validation": len(split.val), "test": len(split.test)}
        shares = [f"{share(n / sum(parts.values()))} {name}" for name, n in parts.items() if n]
        if split.how == "tail":
            shares.append("--split tail")
        left_out = what_is_left_out(corpus, split)
        lines = [
            f"text       {corpus.path}: {files}{size}",
            *(
                f"{HELD_OUT[part]:11}{text.path}: {len(text.ids):,} characters"
                for part, text in corpus.texts.items()
                if part in HELD_OUT
            ),
            *(f"           {note}" for note in notes),
            f"split      {', '.join(shares)}, in chunks of {split.B}×{split.T} characters",
            *([f"           {left_out}"] if left_out else ()),
            *self.comparison(),
            *([f"plan       {plan}"] if (plan := plan_of(self.run)) else ()),
            f"model      {model.summary()}",
            f"device     {self.trainer.backend.describe()}",
        ]
        if self.trainer.backend.threads and not self.trainer.iteration:
            lines.append("           more threads were slower, probably because the cores are busy")
        if (processes := self.trainer.team.size) > 1:
            lines.append(f"           {processes} processes share the {split.B} streams")
        reducible = 1 if "batch_size" in self.run.chosen else split.B
        advice = updates_advice(self.trainer.iterations, reducible, split.T)
        if advice and not self.trainer.iteration and "max_epochs" not in self.run.chosen:
            lines.append(f"warning    {advice}")
        if self.from_scratch and (advice := size_advice(self.run)):
            lines.append(f"warning    {advice}")
        if self.trainer.iteration:
            lines.append(f"resumed    at epoch {self.trainer.epoch:.2f}, from {self.trainer.saver.resumed}")
            if (limit := self.trainer.settings.max_time) and "max_time" not in self.run.changes:
                lines.append(f"           time limit: {limit:g} min from now; change it with --max-time")
            for name, value in self.run.changes.items():
                value = self.run.corpus.path if name == "data" else value
                automatic = AUTOMATIC.flag if value is AUTO else value
                shown = f"{value:g}" if isinstance(value, float) else automatic
                change = f"{Option(name).flag} is now {shown}"
                if name in self.run.chosen:  # max_epochs, for a new time limit
                    change = f"until about epoch {value:.2f}"
                elif name == "max_time" and value:
                    change = f"time limit: {shown} min from now"
                lines.append(f"           {change}")
            lines += self.better_checkpoint()
        else:
            lines += self.other_runs()
        return lines

    def better_checkpoint(self) -> list[str]:
        """Return the command that resumes from the best checkpoint, if the resumed one is clearly worse."""
        best, resumed = self.trainer.best, self.trainer.saver.resumed
        if not best or not resumed or not WORSE * loss_in_name(best) < loss_in_name(resumed) < inf:
            return []
        losses = f"its loss is {loss_in_name(resumed):.3f}, but was {loss_in_name(best):.3f} before"
        return [f"           {losses}; to resume from there:", f"  minichar train --resume {quoted(best)}"]

    def other_runs(self) -> list[str]:
        """Return a warning if the directory contains checkpoints of other runs."""
        folder = self.trainer.settings.checkpoint_dir
        files = newest_first(filter(is_checkpoint, folder.glob("*.npz")))
        if not files:
            return []
        digest = next((file.text for file in files if file.text), None)
        if digest and digest != self.run.corpus.digest:
            other, used = "a run on another text", "new run"
        else:
            other, used = "another run", "best run on this text"
        return [
            f"warning    {folder}/ also contains {other}, which is kept",
            f"           from now on, `minichar sample {quoted(folder)}` uses the {used}",
            f"           to separate them, use --checkpoint-dir {quoted(another(folder))}",
        ]

    def comparison(self) -> list[str]:
        """Return the line with the yardstick, if there is validation text."""
        if (yardstick := self.trainer.yardstick) is None:
            return []
        characters = self.trainer.split.train.streams.size
        counted = yardstick.counted / characters
        part = f", on {share(counted)} of the text" if counted < 1 else ""
        return [f"yardstick  {yardstick.loss:.3f} ({yardstick.n}-gram{part})"]

    def show(self, event: Event) -> None:
        """Report an event."""
        match event:
            case Step():
                self.show_step(event)
            case Evaluated():
                self.show_evaluated(event)
            case Extended():
                self.say(f"extended   to {event.epochs:g} epochs, because training is faster than planned")
                self.log.append({"event": "extended"} | asdict(event))
            case EndedEarly():
                self.say(f"ended      at epoch {self.trainer.epoch:.2f}: {event.reason}")
            case Warned():
                self.say(f"warning    {event.message}")
            case Saved():
                if not event.latest and not self.shows_loss:  # the path can be found by the loss in its name
                    self.say(f"           saved {event.path}")
                self.shows_loss = False
                if event.warning:
                    self.say(f"warning    {event.warning}")

    def show_step(self, step: Step) -> None:
        """Advance the progress bar, and print and log the loss every `print_every` chunks."""
        self.speed.count(self.characters)
        if step.iteration == 1:
            self.say(f"initial    loss {step.loss:.3f} (uniform baseline: {self.uniform:.3f})")
        due = step.iteration % self.print_every == 0
        self.bar.position = step.iteration
        if due or self.bar.due:  # each update copies the loss from the device
            epochs, loss = self.trainer.settings.max_epochs, step.loss
            epoch = f"epoch {step.epoch:.2f}/{round(epochs, 2):g}"
            self.bar.label = epoch, f"loss {loss:.3f}", f"{self.speed} characters/s"
            timetable = self.trainer.timetable
            left = timetable.deadline() - timetable.elapsed()
            per_step = (monotonic() - self.begun) / (step.iteration - self.first)
            self.bar.length = expected_end(step.iteration, self.trainer.iterations, left, per_step)
            with self.display():
                self.bar.redraw()
        self.show_early()
        if due:
            if self.bar.hidden and not self.quiet:
                self.say("  ".join(self.bar.label))
            self.log.append(
                {
                    "event": "step",
                    "iteration": step.iteration,
                    "epoch": step.epoch,
                    "loss": loss,
                    "characters_per_second": self.speed.value,
                }
            )

    def show_early(self) -> None:
        """Print the estimated duration of the run and, before the first evaluation, some generated text."""
        now, done = monotonic(), self.trainer.iteration
        # Exclude the first chunk. On a GPU, for example, its time includes kernel compilation.
        if self.first_chunk_end is None:
            self.first_chunk_end = now, done
        since, first = self.first_chunk_end
        if not self.estimated and done > first and now - since >= ESTIMATE_AFTER:
            self.estimated = True
            per_chunk = (now - since) / (done - first)
            timetable = self.trainer.timetable
            seconds = timetable.elapsed() + per_chunk * (self.trainer.iterations - done)
            evaluations: float = timetable.evaluations(seconds)
            if timetable.limit < seconds:
                evaluations, seconds = evaluations * timetable.limit / seconds, timetable.limit
            may_end_early = len(self.trainer.val) and 0 < self.trainer.settings.patience < evaluations
            at_most = "up to " if may_end_early else ""
            # Otherwise, the bar shows the time, or the run was planned for the time limit.
            if self.bar.hidden and not (self.trainer.settings.max_time and "max_epochs" in self.run.chosen):
                total = "" if self.first else " in total"
                self.say(f"time       {at_most}about {duration(seconds)}{total}")
        if self.sampled_at < self.begun <= now - SAMPLE_AFTER and self.trainer.settings.sample_every:
            self.show_sample()

    def show_sample(self) -> None:
        """Print a line of generated text."""
        self.sampled_at = monotonic()
        model = self.trainer.model.on(CPU)  # each step is small (see `AUTO_CPU`)
        self.say(f"           sample: {sample_line(model, self.trainer.iteration)}")
        self.speed.resume()

    def show_evaluated(self, evaluated: Evaluated) -> None:
        """Print and log the losses, with advice and a line of generated text."""
        train, val, shortened = evaluated.train_loss, evaluated.val, evaluated.shortened
        line = f"epoch {evaluated.epoch:.2f}  train {train:.4f}"
        resumed = self.trainer.saver.resumed  # possibly a checkpoint whose loss is not in the history
        best = min(self.trainer.saver.best_loss, loss_in_name(resumed) if resumed else inf)
        is_best = val is not None and val.loss < best
        self.shows_loss = val is not None
        if val:
            line += f"  validation {val.loss:.4f}{'' if is_best else f'  (best {best:.4f})'}"
        self.say(line)
        if shortened:
            part = shortened.characters / (len(self.trainer.val) * self.characters)
            so_far = f"{part:.0%} of the validation chunks (loss {shortened.loss:.4f})"
            self.say(f"           the time limit was reached after {so_far}")
        fit = evaluated.fit
        advice = ""
        if val and fit and evaluated.epoch >= 1:
            advice = fit_advice(
                fit.loss,
                val.loss,
                since_best=0 if is_best else self.trainer.timetable.since_best + 1,
                updates=evaluated.iteration,
                total=self.trainer.iterations,
                ratio=self.ratio,
                dropout=self.trainer.settings.dropout,
            )
        kind = advice.partition(" ")[0]
        if fit and advice and kind not in self.advised:
            self.advised.add(kind)
            self.say(f"           {advice}")
            without = ", without dropout" if self.trainer.settings.dropout else ""
            self.say(f"           training loss with the same weights{without}: {fit.loss:.4f}")
        self.measurements += 1
        every = self.trainer.settings.sample_every
        due = every and self.measurements % every == 0 and monotonic() - self.sampled_at >= SAMPLE_PAUSE
        if due and not self.trainer.timetable.is_late():
            self.show_sample()
        self.log.append({"event": "evaluation"} | evaluated.record())
        self.speed.resume()

    def measure(self) -> None:
        """Print and log the losses on the validation and test files, or the commands that measure them."""

        def watch(steps: Iterable[Any]) -> Iterator[Any]:
            return with_bar(steps, "last evaluation", hidden=self.quiet)

        with self.display():
            for measured in measure_files(self.run, watch):
                name, result = HELD_OUT[measured.part], measured.result
                if result is None:
                    self.say(f"{name:11}not measured; measure it with:")
                    self.say(f"  minichar eval {quoted(self.trainer.best)} --part {measured.part}")
                    continue
                loss, rest = str(result).split(", ", 1)
                self.say(f"{name:11}{loss}")
                self.say(f"           {rest}")
                self.log.append({"event": "final", "part": measured.part} | asdict(result))

    @property
    def is_resumable(self) -> bool:
        """Whether the run has steps left, for example because it was interrupted."""
        unfinished = self.trainer.iteration < self.trainer.iterations
        return unfinished and not self.trainer.timetable.is_out_of_patience()

    def remedy(self) -> list[str]:
        """Return advice on lowering the loss: more time, a larger model or more text.

        In the same time, a larger model trained from scratch usually reaches a lower loss than the same model
        resumed, even if its run was cut off. A model that was fine-tuned cannot be larger than the original.
        """
        seconds = self.trainer.seconds
        minutes = max(1, round(LONGER * seconds / 60))
        is_short = bool(length_advice(len(self.run.corpus.ids)))
        step = (monotonic() - self.begun) / max(1, self.trainer.iteration - self.first)
        larger = not is_short and self.from_scratch and larger_model(self.run, minutes, step)
        if larger:
            train = f"train a larger model for {minutes} min instead of resuming"
            return [f"           for a lower loss, {train}:", f"  {larger}"]
        if self.trainer.timetable.since_best or (is_short and not self.is_resumable):
            return ["           for a lower loss, train on more text"]
        directory = quoted(self.trainer.settings.checkpoint_dir)
        command = f"minichar train --resume {directory} --max-time {minutes}m"
        return [f"           for a lower loss, continue training for {minutes} min:", f"  {command}"]

    def finish(self) -> None:
        """Print suggested commands and, for scripts, the best checkpoint's path to standard output."""
        best, yardstick = self.trainer.best, self.trainer.yardstick
        loss = loss_in_name(best) if best else inf
        held_out = len(self.trainer.val) * self.characters
        result = verdict(loss, held_out, yardstick, self.uniform) if yardstick and loss < inf else []
        for title, line in zip(("result", ""), result, strict=False):
            self.say(f"{title:11}{line}")
        last = self.trainer.saver.last
        if last and self.is_resumable and (self.trainer.stopping or not result):
            at = f"stopped at epoch {self.trainer.epoch:.2f}; " if self.trainer.stopping else ""
            self.say(f"{at}resume with:")
            self.say(f"  minichar train --resume {quoted(last)}")
        elif result and loss >= NEGLIGIBLE:
            for line in self.remedy():
                self.say(line)
        self.measure()
        if best:
            self.say(f"generate   minichar sample {quoted(best)} --temperature 0.8")
            if not (sys.stdout.isatty() and sys.stderr.isatty()):  # on a terminal, the last line suffices
                print_path(best)
