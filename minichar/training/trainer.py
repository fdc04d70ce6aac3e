"""The training loop.

    for each chunk: forward pass, loss, backward pass, clipping, RMSprop, averaging
    after each epoch and every two minutes, or every `eval_val_every` chunks: evaluate, save a checkpoint
    `checkpoint_every` seconds after the last checkpoint: overwrite the latest checkpoint

The trainer prints nothing: it yields events for the command line to display.

Multiple processes can run this loop in lockstep (`minichar.training.team`). Each process trains and evaluates
on its own streams, and rank 0 writes the checkpoints.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from math import isfinite, log
from pathlib import Path
from time import monotonic, time
from typing import Any

import numpy as np

from minichar.checkpoints import checkpoint
from minichar.checkpoints.choosing import Record
from minichar.checkpoints.training_state import Progress, TrainingState
from minichar.devices.backend import Array
from minichar.devices.random import ColumnsOf
from minichar.engine.parameters import Parameters
from minichar.errors import MinicharError, Option, counted
from minichar.files import check_directory, sharing
from minichar.history import LARGEST, History
from minichar.model import CharRNN
from minichar.text.batches import Chunks, Split
from minichar.text.ngram import yardstick_of
from minichar.training.device import fit_threads
from minichar.training.evaluation import Evaluation, Measurement, evaluate, until
from minichar.training.events import EndedEarly, Evaluated, Event, Extended, Saved, Step, Warned
from minichar.training.pace import Pace
from minichar.training.saving import Saver
from minichar.training.schedules import rates
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep
from minichar.training.team import ALONE, Team
from minichar.training.timetable import Timetable

EXPLODED = 3.0
"""Training fails if the loss exceeds this multiple of the initial loss, as in char-rnn.

If the initial loss is below the uniform baseline ln V, for example when training starts from trained
weights, the baseline is used instead.
"""
HEADER_BYTES = 20_000
"""Approximate size of the parts of a checkpoint that do not depend on the number of parameters."""


class Trainer:
    """A training run of one model on one text. The model is trained in place.

    `origin` contains the ``path`` and ``digest`` of the training text and, under ``val`` and ``test``, of
    texts in separate files. It is stored in checkpoints so that changes to the texts are detected when the
    run is resumed. `run_id` identifies the run in its checkpoints (`minichar.checkpoints.choosing.Record`).
    `resumed` is the training state to resume from, including the streams of all processes in `team`.
    """

    def __init__(
        self,
        model: CharRNN,
        split: Split,
        settings: Settings,
        origin: dict[str, Any],
        run_id: str,
        resumed: TrainingState | None = None,
        team: Team = ALONE,
    ) -> None:
        self.team = team
        self.model, self.split, self.settings = model, split, settings
        self.origin, self.run_id = origin, run_id
        self.backend = model.parameters.backend
        self.step = TrainingStep(model, split.T, split.B, settings, team)
        # The chunks of this process's streams. Each evaluation uses the same ones.
        self.train, self.val = split.train.of(self.step.streams), split.val.of(self.step.streams)
        if settings.max_val_chunks > 0:
            self.val = self.val.part(0, settings.max_val_chunks)
        self.zeroed = self._zeroed()  # the streams that start from a zero state, by chunk of an epoch
        self.measurement = Measurement(model.network(split.T, len(self.train.streams)))
        # Separate from the generators for weights and samples, so that training does not depend on them.
        self.generator = self.backend.uniform(settings.seed, 1)
        if team.size > 1:
            self.generator = ColumnsOf(self.generator, self.step.streams, split.B, self.backend.zeros)
        # The best n-gram model on `val`, if it was measured. Stored in checkpoints.
        self.yardstick = yardstick_of(model.details) if resumed else None
        self.earlier_seconds = (model.seconds or 0.0) if resumed else 0.0
        # The settings are needed to generate text before the first checkpoint is saved.
        model.details = {**model.details, "settings": settings.to_json()}
        self.iteration = 0
        self.first_loss: float | None = None
        self.history = History()
        self.saver = Saver(settings.checkpoint_dir, settings.run_name, settings.keep, self._write)
        self.stopping = self.is_saved = False  # `is_saved`: all progress so far is saved or is being saved
        self.timetable, self.pace = Timetable(settings, len(split.train), len(self.val)), Pace()
        if resumed is not None:
            self.restore(resumed)

    def _zeroed(self) -> dict[int, slice]:
        """Return the streams to reset before each chunk of an epoch: stream b before chunk ⌊b n / B⌋."""
        streams, n, zeroed = self.step.streams, len(self.train), dict[int, slice]()
        if self.settings.epoch_reset:
            # If all were reset at once, the network would forget the zero state in between.
            chunks = [b * n // self.split.B for b in range(streams.start, streams.stop)]
            zeroed = {k: slice(bisect_left(chunks, k), bisect_right(chunks, k)) for k in chunks}
        if self.train.resets is not None:  # documents are independent
            zeroed[0] = slice(None)
        return zeroed

    def restore(self, resumed: TrainingState) -> None:
        """Restore a training state. Each process restores the recurrent states of only its own streams.

        Raises a `MinicharError` if the training state does not match the model or is corrupted.
        """
        progress, step, to_device = resumed.progress, self.step, self.backend.to_device
        if resumed.state.shape != self.model.config.state_shape(self.split.B):
            raise MinicharError("the checkpoint cannot be resumed: its carried state has the wrong shape")
        if resumed.theta is not None:
            step.theta.flat[...] = to_device(resumed.theta)
        step.optimiser.mean_square[...] = to_device(resumed.mean_square)
        step.network.state = to_device(resumed.state[..., step.streams])
        step.total[...] = progress.total
        self.iteration, self.history = progress.iteration, resumed.history
        self.begin_with(progress.first_loss)
        if best := self.history.best:
            self.saver.record(best["val_loss"])
            start = max(best["iteration"], self.timetable.warmup)
            later = self.history["val_loss"][self.history["iteration"] > start]
            self.timetable.since_best = int(np.isfinite(later).sum())
        if progress.device == self.backend.kind:
            try:
                self.generator.state = progress.random
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
                raise MinicharError(
                    f"the checkpoint cannot be resumed: its random state is corrupted ({error})"
                ) from error

    def training_state(self) -> TrainingState:
        """Return the training state, including the recurrent states of all processes.

        All processes must call this method.
        """
        assert self.first_loss is not None  # at least one step has been completed
        step, to_host = self.step, self.backend.to_host
        total, random = float(to_host(step.total)), self.generator.state
        return TrainingState(
            to_host(step.optimiser.mean_square),
            self.team.gather(to_host(step.network.state)),
            Progress(
                self.iteration,
                self.first_loss,
                self.learned,
                total,
                self.backend.kind,
                random,
                self.backend.threads,
            ),
            self.history,
            to_host(step.theta.flat) if step.averages else None,
        )

    @property
    def iterations(self) -> int:
        """Total number of training steps in the run."""
        return self.timetable.total

    @property
    def epoch(self) -> float:
        """Number of completed epochs, including the fraction of the current epoch."""
        return self.iteration / len(self.split.train)

    @property
    def learned(self) -> int:
        """Number of training steps since the last evaluation."""
        return self.iteration - (self.history[-1]["iteration"] if self.history else 0)

    @property
    def seconds(self) -> float:
        """Duration of the run in seconds, including that of earlier processes."""
        return self.earlier_seconds + self.timetable.elapsed()

    @property
    def best(self) -> Path | None:
        """The checkpoint with the lowest validation loss; ties go to the newest."""
        return self.saver.best(self.history)

    def stop(self) -> None:
        """Request a checkpoint and a stop after the current chunk. Safe to call from a signal handler."""
        self.stopping = True

    def run(self, started: float | None = None) -> Iterator[Event]:
        """Train and yield events until `max_epochs`, `patience`, `max_time` or `stop` ends the run.

        `started` is the time from which `max_time` counts, as measured by `time.monotonic`. The default is
        now.

        Raises
        ------
        MinicharError
            Immediately, if checkpoints cannot be saved to the directory; during iteration, if the loss is not
            finite or has exploded (`EXPLODED`), or a checkpoint cannot be saved.
        """
        directory = self.settings.checkpoint_dir
        self.team.lead(lambda: check_directory(directory, self.checkpoint_bytes))
        self.timetable.begin(self.iteration, started)
        return self._run(directory)

    def _run(self, directory: Path) -> Iterator[Event]:
        warning = Warned(f"another run is saving to {directory}/: use one directory per run")
        evaluated_at, reason = self.iteration, ""
        with self.team.leading(sharing(directory)) as shared:
            if warned := self.team.lead(shared):
                yield warning
            while self.iteration < self.iterations and not self.synchronise():
                if reason := self.timetable.reason_to_end():
                    break
                self.set_rates()
                begun = monotonic()
                loss = self.learn()
                seconds = monotonic() - begun
                event = Step(self.iteration, self.epoch, loss, self.backend.to_host)
                if self.first_loss is None:
                    self.check(event.loss)
                yield event
                if "loss" in vars(event):  # already copied to the host, so checking it is free
                    self.check(event.loss)
                if self.team.size == 1 and not self.backend.threads and self.pace.is_slow(seconds):
                    yield from self._fit_threads()
                due = self.timetable.is_evaluation_due(self.iteration)
                if self.iteration == self.iterations:
                    yield from self._extend()
                if due:
                    evaluated_at = self.iteration
                    yield from self._evaluate()
                    if not warned and (warned := self.team.lead(shared)):  # another run has started since
                        yield warning
                elif self.timetable.is_save_due():
                    self.check_parameters()
                    yield self.save_latest()
            if self.iteration > evaluated_at:
                yield from self._evaluate() if reason else self._stop()
            if reason:
                yield EndedEarly(reason)

    def _extend(self) -> Iterator[Event]:
        """Extend the run if much of its time is left. The number of warm-up steps stays the same."""
        if self.synchronise():
            return
        if epochs := self.timetable.extend(self.iteration):
            warmup = self.timetable.warmup / self.iterations
            self.settings = replace(self.settings, max_epochs=epochs, warmup=warmup)
            yield Extended(epochs, warmup)

    def _fit_threads(self) -> Iterator[Event]:
        """Use fewer threads if other programs now use the cores. The checkpoints record the number."""
        fit_threads(self.backend, self.model.config, self.split.B)
        if threads := self.backend.threads:
            yield Warned(f"other programs use the cores: continuing with {counted(threads, 'thread')}")

    def _stop(self) -> Iterator[Event]:
        """Save a checkpoint, then measure its validation loss if that is quick.

        The loss is not added to the history: the rest of the run must not depend on where it was stopped.
        """
        self.check_parameters()
        loss = None
        if len(self.val):
            yield self.save_latest()
            self.synchronise()  # saving takes none of the time to evaluate
            self.timetable.hurry()
            val, complete = self.validation_loss()
            loss = val.loss if complete else None
        yield self.save(loss)

    def _evaluate(self) -> Iterator[Event]:
        """Evaluate the model, add a row to the history and save a checkpoint."""
        begun = self.timetable.now
        evaluated = self.validate()
        self.step.total[...] = 0.0
        self.history.append(evaluated.row())
        measured = self.timetable.now
        yield evaluated
        val_loss = evaluated.val.loss if evaluated.val else None
        saved = self.save(val_loss)
        yield saved
        self.synchronise()
        self.timetable.evaluated(self.timetable.now - begun, self.timetable.now - measured)
        if val_loss is not None:
            self.timetable.count(self.iteration, saved.best)

    def synchronise(self) -> bool:
        """Update the clock, which all processes share, and return whether any of them should stop."""
        stopping, seconds = self.team.largest(self.stopping, self.timetable.elapsed())
        self.timetable.tick(seconds, self.iteration)
        if stopping:  # never set to False, because a signal may have arrived in the meantime
            self.stopping = True
        return bool(stopping)

    @np.errstate(over="ignore", invalid="ignore")  # `check` reports a non-finite loss
    def learn(self) -> Array:
        """Train on the next chunk; return its loss, a scalar array on the device."""
        self.is_saved = False
        k = self.iteration % len(self.train)
        inputs, targets, *state_mask = self.train[k]
        if streams := self.zeroed.get(k):
            self.step.network.reset(streams)
        self.step.learn(inputs, targets, self.generator, *state_mask)
        self.iteration += 1
        return self.step.loss.copy()

    def set_rates(self) -> None:
        """Set the learning rate, teacher-forcing ratio and weight-averaging decay for the next step."""
        self.step.set_rates(
            *rates(self.settings, self.iteration, len(self.split.train), self.timetable.total)
        )

    def checked(self, loss: Array) -> float:
        """Copy a loss to the host, and raise a `MinicharError` if it is not finite or has exploded."""
        value = float(self.backend.to_host(loss))
        self.check(value)
        return value

    def validate(self) -> Evaluated:
        """Evaluate on the validation split, starting from a zero state.

        If this would exceed the time limit, the training chunks are not evaluated and, if necessary, neither
        are the last validation chunks.
        """
        self.check_parameters()
        train_loss = self.checked(self.step.total / self.learned)
        val = fit = shortened = None
        if len(self.val):
            val, complete = self.validation_loss()
            if not complete:
                val, shortened = None, val
            elif not self.is_late():
                fit, complete = self.loss_on(self.train.part(0, len(self.val)))
                fit = fit if complete else None
        return Evaluated(
            self.iteration,
            self.epoch,
            train_loss,
            val,
            fit,
            *rates(self.settings, self.iteration - 1, len(self.split.train), self.iterations)[:2],
            shortened,
        )

    def validation_loss(self) -> tuple[Evaluation, bool]:
        """Return `loss_on` the validation chunks. Raise a `MinicharError` if the loss has exploded."""
        val, complete = self.loss_on(self.val)
        self.check(val.loss)
        return val, complete

    @np.errstate(over="ignore", invalid="ignore")
    def loss_on(self, chunks: Chunks) -> tuple[Evaluation, bool]:
        """Evaluate the model from a zero state, without changing the training state.

        Each process evaluates its own streams. Return the combined result for the chunks that were evaluated
        before time ran out (at least one), and whether these are all of the chunks.
        """
        self.measurement.network.reset()
        own = evaluate(self.measurement, until(self.is_late, chunks))
        loss, first, last = self.team.mean(self.step.share, own.loss, own.first, own.last)
        characters = round(own.characters / self.step.share)
        return Evaluation(loss, first, last, characters), own.characters == chunks.streams[:, 1:].size

    def is_late(self) -> bool:
        """Return whether an evaluation must end now because of the time limit (`Timetable.is_late`)."""
        self.synchronise()
        return self.timetable.is_late()

    def check_parameters(self) -> None:
        """Check that all parameters are finite and that every loss so far is finite and within the limit."""
        self.checked(self.step.worst)
        if not self.backend.to_host(self.backend.xp.isfinite(self.step.theta.flat).all()):
            self.check(float("nan"))

    def begin_with(self, first_loss: float) -> None:
        """Set the initial loss and the maximum loss derived from it."""
        # On new text, a pretrained model's loss can rise sharply and still be below the uniform baseline.
        self.limit = min(EXPLODED * max(first_loss, log(self.model.config.vocab_size)), LARGEST)
        self.first_loss = first_loss
        self.step.limit[...] = self.limit

    def check(self, loss: float) -> None:
        """Raise a `MinicharError` if `loss` is not finite or exceeds the maximum loss."""
        if self.first_loss is None:
            self.begin_with(loss)
        if isfinite(loss) and loss <= self.limit:
            return
        limit = f"; the initial loss was {self.first_loss:.4g}" if isfinite(loss) else ""
        last = self.saver.last
        good = f"The last good checkpoint is {last}" if last else "No checkpoint was saved"
        bad = bad_parameter(self.step.theta)
        raise MinicharError(
            f"training failed: loss {loss:.4g} at epoch {self.epoch:.2f}{limit}. {bad}. {good}; try a ",
            Option("learning_rate"),
            f" below {self.settings.learning_rate:g} or a lower ",
            Option("grad_clip"),
        )

    def save(self, val_loss: float | None) -> Saved:
        """Save a checkpoint, with the validation loss in its name if measured."""
        return self._saved(lambda: self.saver.save(self.epoch, val_loss, self.stopping))

    def save_latest(self) -> Saved:
        """Save a checkpoint between evaluations, replacing the previous such checkpoint."""
        return self._saved(self.saver.save_latest)

    def _saved(self, save: Callable[[], Saved]) -> Saved:
        self.is_saved = True
        self.training = self.training_state()
        saved = self.team.lead(save)
        self.timetable.saved()
        return saved

    def _write(self, path: Path, val_loss: float | None) -> None:
        self.model.details = {
            "val_loss": val_loss,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "origin": self.origin,
            "settings": self.settings.to_json(),
            "run": asdict(Record(self.run_id, self.iteration, time())),
            "yardstick": self.yardstick and asdict(self.yardstick),
        }
        checkpoint.save(path, self.model, self.training)

    @property
    def checkpoint_bytes(self) -> int:
        """Approximate checkpoint size in bytes: weights, running mean square, recurrent state and headers."""
        copies = 3 if self.step.averages else 2
        state = self.step.network.state.nbytes * self.team.size
        return copies * self.model.parameters.flat.nbytes + state + HEADER_BYTES


def bad_parameter(parameters: Parameters) -> str:
    """Return a message that names the first non-finite parameter.

    If all parameters are finite, the message names the one that contains the largest absolute value.
    """
    backend = parameters.backend
    largest = {name: float(backend.to_host(backend.xp.abs(view).max())) for name, view in parameters.items()}
    for name, value in largest.items():
        if not isfinite(value):
            return f"Parameter {name} is no longer finite"
    name = max(largest, key=lambda name: largest[name])
    return f"Parameter {name} has grown to {largest[name]:.3g}"
