"""Decide when to evaluate and when to stop."""

from math import inf
from time import monotonic

from minichar.errors import counted
from minichar.training.settings import Settings

EVALUATION_INTERVAL = 120.0
"""Seconds between evaluations within an epoch if `eval_val_every` is None and evaluations are fast."""
TRAINING_PER_EVALUATION = 9
"""Minimum training time between automatic evaluations in an epoch, and between any evaluation and the one at
the time limit, as a multiple of the duration of an evaluation."""
RESERVED = 0.25
"""Maximum fraction of the time limit reserved for the last evaluation."""
QUICK = 5.0
"""Maximum time in seconds to evaluate a run that was stopped and has been saved."""
MORE, FEWEST = 0.1, 50
"""A run is extended only if there is time for this fraction of its steps, and if it has made this many steps:
in fewer, the learning rate hardly rises. Steps of earlier processes do not count."""


class Timetable:
    """The schedule of a training run, with `per_epoch` steps per epoch: evaluations and early stopping."""

    def __init__(self, settings: Settings, per_epoch: int, val_chunks: int) -> None:
        self.settings, self.per_epoch, self.val_chunks = settings, per_epoch, val_chunks
        self.limit = 60 * settings.max_time or inf  # in seconds
        self.total = max(1, round(settings.max_epochs * per_epoch))  # maximum number of training steps
        self.most_epochs = settings.max_epochs  # maximum number of epochs if the run is extended
        self.warmup = round(settings.warmup * self.total)  # number of steps in which the learning rate rises
        self.since_best = 0  # evaluations since the one with the lowest loss, except during warm-up
        self.pause = EVALUATION_INTERVAL
        self.begin()

    def begin(self, iteration: int = 0, started: float | None = None) -> None:
        """Start the clock, or set it as if it had been started at `started` (as measured by `monotonic`).

        `iteration` is the number of steps completed by earlier processes.
        """
        self.begun = monotonic() if started is None else started
        self.first, self.steps, self.measured = iteration, 0, False
        # Seconds since the start of the clock, updated before each step and during evaluations. All processes
        # of a run use the same value. `lap` is the time since the previous update: that of a chunk.
        self.now = self.lap = self.first_step_end = self.evaluated_at = self.saved_at = 0.0
        # Seconds that a step, an evaluation and saving its checkpoint take in total: as measured last time
        # or, before the first evaluation, as estimated from the speed of training. `saving` is the part
        # after the losses are known.
        self.evaluation = self.saving = 0.0

    def elapsed(self) -> float:
        """Return the number of seconds since the start of the clock, as measured by this process."""
        return monotonic() - self.begun

    def tick(self, seconds: float, iteration: int) -> None:
        """Set `now`, and estimate how long an evaluation takes if none has been measured."""
        self.now, self.lap, self.steps = seconds, seconds - self.now, iteration - self.first
        if self.steps == 0:
            self.evaluated_at = self.saved_at = seconds
        elif self.steps == 1:  # excluded: on a GPU, for example, its time includes kernel compilation
            self.first_step_end = seconds
        elif not self.measured:
            # An evaluation has two forward passes per validation chunk, which are faster than a step.
            self.evaluation = (1 + self.val_chunks) * (seconds - self.first_step_end) / (self.steps - 1)

    def is_evaluation_due(self, iteration: int) -> bool:
        """Return whether to evaluate after `iteration` steps.

        By default, an evaluation is due at the end of every epoch and also `EVALUATION_INTERVAL` seconds
        after the previous evaluation (later if evaluations are slow). Shortly before the time limit, no
        evaluation is due, because the run ends with one.
        """
        if iteration == self.total:
            return True
        if self.now + (TRAINING_PER_EVALUATION + 2) * self.evaluation > self.limit:
            return False
        if every := self.settings.eval_val_every:
            return iteration % every == 0
        return iteration % self.per_epoch == 0 or self.now - self.evaluated_at >= self.pause

    def extend(self, iteration: int) -> float:
        """Extend a run that has made its last step, if it is faster than expected.

        Return the new number of epochs, to four significant digits, or 0 if the run is not extended.
        """
        if self.limit == inf or self.steps < FEWEST or self.most_epochs <= iteration / self.per_epoch:
            return 0.0
        left = self.deadline() - self.now - self.evaluation  # the evaluation of this step comes first
        per_step = (self.now - self.first_step_end) / (self.steps - 1)
        epochs = (iteration + left / per_step) / self.per_epoch
        epochs = float(f"{min(epochs, self.most_epochs):.4g}")
        if epochs * self.per_epoch - iteration < MORE * self.steps:
            return 0.0
        self.total = round(epochs * self.per_epoch)
        return epochs

    def evaluations(self, seconds: float) -> int:
        """Return roughly how many evaluations there are in a complete run that takes `seconds` seconds."""
        if every := self.settings.eval_val_every:
            return self.total // every
        return self.total // self.per_epoch + int(seconds / EVALUATION_INTERVAL)

    def deadline(self) -> float:
        """Return the time at which the last evaluation must begin in order to end before the time limit."""
        return self.limit - min(self.evaluation, RESERVED * self.limit)

    def is_late(self) -> bool:
        """Return whether an evaluation has no time for another chunk before its checkpoint must be saved."""
        return self.now + self.lap + self.saving > self.limit

    def hurry(self) -> None:
        """Set the time limit to `QUICK` seconds from now."""
        self.limit = self.now + QUICK

    def is_save_due(self) -> bool:
        """Return whether `checkpoint_every` seconds have passed since a checkpoint was last saved."""
        return 0 < self.settings.checkpoint_every <= self.now - self.saved_at

    def saved(self) -> None:
        """Record that a checkpoint was saved."""
        self.saved_at = self.now

    def evaluated(self, seconds: float, saving: float) -> None:
        """Record how long an evaluation took, including `saving` (see `begin`)."""
        self.evaluation, self.saving, self.measured = seconds, saving, True
        self.pause = max(EVALUATION_INTERVAL, TRAINING_PER_EVALUATION * seconds)
        self.evaluated_at = self.now

    def count(self, iteration: int, best: bool) -> None:
        """Count an evaluation towards `patience`, or reset the count if the loss is the lowest so far."""
        # Evaluations during warm-up do not count: the learning rate may still be too low to improve the loss.
        self.since_best = 0 if best else self.since_best + (iteration > self.warmup)

    def is_out_of_patience(self) -> bool:
        """Return whether the validation loss has not improved in `patience` evaluations."""
        return 0 < self.settings.patience <= self.since_best

    def reason_to_end(self) -> str:
        """Return the reason for ending training early, or an empty string if there is none."""
        if self.is_out_of_patience():
            return f"the validation loss has not improved in {counted(self.since_best, 'evaluation')}"
        if self.steps and self.now >= self.deadline():  # at least one step is made first
            limit = self.settings.max_time
            return f"reached the time limit of {limit:g} minute{'s' * (limit != 1)}"
        return ""
