"""Run the trials of a sweep, each as a training run in its own directory.

    while trials remain:
        resume a trial that was left unfinished, or ask Optuna for a new one
        train from its newest checkpoint, or from the beginning
        at every evaluation: report the validation loss, and end the run if Optuna prunes it

A trial is unfinished if the study lists it as running but no process holds the lock on its directory. The
operating system releases the lock when the process that holds it exits or is killed. A process must hold the
sweep's lock while it claims a trial, so that two processes cannot claim the same trial.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any

from minichar.checkpoints.checkpoint import load_history
from minichar.checkpoints.choosing import newest_in
from minichar.checkpoints.naming import is_checkpoint
from minichar.devices.backend import Backend
from minichar.errors import Completed, MinicharError, Option, out_of_memory
from minichar.files import locking
from minichar.sweep.space import check_space, combination, size, values_of
from minichar.sweep.study import Plan, database_errors, open_study, part, read_plan
from minichar.text.corpus import Corpus
from minichar.training.choose import choose
from minichar.training.events import EndedEarly, Evaluated, Event
from minichar.training.recipes import settings_from
from minichar.training.settings import TEXTS
from minichar.training.start import Run, begin, resume
from minichar.training.text import lay_out_to_train, read_corpus
from minichar.training.trainer import Trainer


@dataclass(frozen=True)
class Began:
    """Event: the training run for a trial has been started or resumed."""

    number: int
    run: Run


@dataclass(frozen=True)
class Ended:
    """Event: a trial has ended."""

    number: int
    state: str  # complete, pruned, failed, or unfinished, to be resumed before new trials are started
    values: dict[str, Any]  # of the searched options
    loss: float | None = None  # the lowest validation loss
    error: str = ""  # the reason for the failure


class Sweep:
    """Runs trials of the sweep in `folder`; each new trial runs on the device that suits its size.

    If training would reject the options, or if the existing sweep has different options or a different text,
    this raises a `MinicharError`. For `plan` and other errors, see `open_study`.
    """

    def __init__(self, folder: Path, plan: Plan | None, devices: Sequence[Backend]) -> None:
        plan = plan or read_plan(folder)
        corpus = check_plan(plan)
        self.folder, self.devices = folder, devices
        digest = " ".join(corpus.digests.values())
        stored, self.study = open_study(folder, replace(plan, digest=digest))
        self.plan = replace(stored, given=plan.given)
        for text, original in zip(corpus.texts.values(), self.plan.digest.split(), strict=False):
            if text.digest != original:
                raise MinicharError(
                    f"{text.path} is not the text that the sweep {folder}/ was started with: restore the "
                    "original text, or choose another directory with --sweep-dir"
                )
        self.space = self.plan.space
        self.size = size(self.space)
        self.stopping = self.complete = False
        self.trainer: Trainer | None = None

    @property
    def is_saved(self) -> bool:
        """Whether all progress has been saved or is being saved. False while a trial starts."""
        return self.complete or (self.trainer is not None and self.trainer.is_saved)

    def stop(self) -> None:
        """Stop the sweep after saving the current trial's checkpoint. Safe to call from a signal handler."""
        self.stopping = True
        if self.trainer is not None:
            self.trainer.stop()

    def run(self, trials: int, minutes: float = 0.0) -> Iterator[Began | Event | Ended]:
        """Run trials, up to a total of `trials` in the sweep, and yield their events.

        The total includes the trials of other processes and earlier runs. If the search space is finite, each
        combination of values is tried at most once. After `minutes` (0: never), `stop` is called.
        """
        deadline = monotonic() + 60 * minutes if minutes else float("inf")
        with database_errors():
            while not self.stopping:
                with ExitStack() as locks:
                    self.trainer = None
                    trial = self.take(trials, locks)
                    if trial is None:
                        self.complete = True
                        return
                    for event in self.train(trial):
                        yield event
                        if monotonic() >= deadline and not self.stopping:
                            self.stop()

    def take(self, trials: int, locks: ExitStack) -> Any:
        """Return an unfinished or new trial, with its directory locked, or None if no trials remain."""
        with locking(self.folder / "sweep.lock"):
            for each in self.running():
                locked = locks.enter_context(locking(self.directory(each.number) / "lock", wait=False))
                # Another process may have completed the trial just before releasing the lock.
                if locked and each.number in [trial.number for trial in self.running()]:
                    return part("optuna").trial.Trial(self.study, each._trial_id)
            known = self.study.get_trials(deepcopy=False)
            waiting = [each for each in known if each.state is part("optuna").trial.TrialState.WAITING]
            if len(known) - len(waiting) >= min(trials, self.size):
                return None
            if isfinite(self.size) and not waiting:  # Optuna would repeat combinations
                self.study.enqueue_trial(combination(self.space, len(known)))
            trial = self.study.ask()
            locks.enter_context(locking(self.directory(trial.number) / "lock"))
            return trial

    def running(self) -> list[Any]:
        """Return the trials that the study lists as running."""
        running = part("optuna").trial.TrialState.RUNNING
        return self.study.get_trials(deepcopy=False, states=(running,))

    def train(self, trial: Any) -> Iterator[Began | Event | Ended]:
        """Train the model for a trial and store the result in the study."""
        optuna = part("optuna")
        state = optuna.trial.TrialState
        # Processes that start together must choose different values, so each trial has its own seed.
        self.study.sampler = optuna.samplers.TPESampler(seed=trial.number)
        values = values_of(self.space, trial)
        directory = self.directory(trial.number)
        pruned, finished = False, True
        try:
            run = self.begin(directory, values)
            self.trainer, finished = run.trainer, False
            if self.stopping:  # `stop` was called before the trainer existed
                self.trainer.stop()
            yield Began(trial.number, run)
            for event in run.trainer.run():
                finished |= isinstance(event, EndedEarly)
                if isinstance(event, Evaluated) and self.report(trial, event):
                    pruned = True
                    run.trainer.stop()
                yield event
            finished |= run.trainer.iteration >= run.trainer.iterations
        except Completed:  # an earlier process was killed after saving the last checkpoint
            pass
        except (MinicharError, MemoryError) as error:
            # An OSError, for example because the disk is full, does not depend on the trial's options.
            if isinstance(error.__cause__, OSError):
                raise
            trial.set_user_attr("error", str(error))
            self.study.tell(trial, state=state.FAIL)
            message = error.with_flags if isinstance(error, MinicharError) else out_of_memory(error)
            yield Ended(trial.number, "failed", values, error=message)
            return
        if not (pruned or finished):
            yield Ended(trial.number, "unfinished", values)
            return
        loss = best_loss(directory)
        self.study.tell(trial, None if pruned else loss, state=state.PRUNED if pruned else None)
        yield Ended(trial.number, "pruned" if pruned else "complete", values, loss)

    def begin(self, directory: Path, values: dict[str, Any]) -> Run:
        """Resume the training run in a directory from its newest readable checkpoint, or start a new run."""
        if any(map(is_checkpoint, directory.iterdir())):
            texts = {name: path for name in TEXTS if (path := self.plan.given.get(name))}
            return resume(directory, texts, *self.devices)
        return begin(settings_from({**self.plan.given, **values, "checkpoint_dir": directory}), *self.devices)

    def report(self, trial: Any, evaluated: Evaluated) -> bool:
        """Report a validation loss to Optuna and return whether to prune the trial.

        Runs can differ in length, so progress is reported as a percentage of the run.
        """
        assert evaluated.val is not None  # `val_frac` is not 0
        assert self.trainer is not None
        percentage = round(100 * evaluated.iteration / self.trainer.iterations)
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        if percentage not in known:  # a resumed trial may repeat an evaluation
            trial.report(evaluated.val.loss, percentage)
        return percentage < 100 and trial.should_prune()

    def directory(self, number: int) -> Path:
        """Return the directory of a trial."""
        return self.folder / f"trial-{number:04d}"


def check_plan(plan: Plan) -> Corpus:
    """Return the training text of a plan, or raise a `MinicharError` if training would reject the plan."""
    space = plan.space
    check_space(space, plan.given)
    settings = settings_from({**plan.given, **{each.name: each.values[0] for each in space}})
    corpus = read_corpus(settings)
    if not len(lay_out_to_train(corpus, choose(settings, corpus)).val):
        option = Option("val_frac", settings.val_frac)
        raise MinicharError(
            "a sweep needs validation text, but ", option, " is too small: use a larger value"
        )
    return corpus


def best_loss(directory: Path) -> float | None:
    """Return the lowest validation loss in the history of a training run, or None if none was measured."""
    history = load_history(newest_in(directory)[0].path)
    return history.best["val_loss"] if history and history.best else None
