"""Decide when to evaluate and when to stop, and compute the learning rate and teacher-forcing ratio."""

from time import monotonic

from minichar.errors import counted
from minichar.training.schedules import warmup_steps
from minichar.training.settings import Settings

AUTOMATIC = 120.0
"""Time between evaluations within an epoch, in seconds, if `eval_val_every` is 0 and evaluations are fast."""
TRAINING = 9
"""Minimum training time between automatic evaluations in an epoch, as a multiple of evaluation time."""


class Timetable:
    """The schedule of a training run: evaluations, early stopping, learning rate and teacher-forcing ratio.

    Parameters
    ----------
    settings : Settings
    per_epoch : int
        Number of training steps in an epoch.

    Attributes
    ----------
    total : int
        Maximum number of training steps.
    now : float
        Seconds since `begin` was called, updated before each step. All processes of a run use the same value.
    warmup : int
        Number of steps during which the learning rate rises.
    since_best : int
        Number of evaluations since the one with the lowest validation loss, excluding those during warm-up.
    """

    def __init__(self, settings: Settings, per_epoch: int) -> None:
        self.settings, self.per_epoch = settings, per_epoch
        self.total = max(1, round(settings.max_epochs * per_epoch))
        self.warmup = warmup_steps(self.total, settings.warmup)
        self.since_best, self.pause = 0, AUTOMATIC
        self.begin()

    def begin(self) -> None:
        """Start the clock."""
        self.begun = monotonic()
        self.now = self.evaluated_at = self.saved_at = 0.0

    def elapsed(self) -> float:
        """Return the number of seconds since `begin` was called, as measured by this process."""
        return monotonic() - self.begun

    def rates(self, i: int) -> tuple[float, float]:
        """Return the learning rate and the teacher-forcing ratio at step `i`, counting from 0."""
        return (
            self.settings.learning_rate_at(i, self.per_epoch, self.total),
            self.settings.teacher_forcing_ratio_at(i // self.per_epoch),
        )

    def is_evaluation_due(self, iteration: int) -> bool:
        """Return whether to evaluate after `iteration` steps.

        By default, an evaluation is due at the end of every epoch and also `AUTOMATIC` seconds after the
        previous evaluation (later if evaluations are slow).
        """
        if iteration == self.total or self.is_over_time():
            return True
        if every := self.settings.eval_val_every:
            return iteration % every == 0
        return iteration % self.per_epoch == 0 or self.now - self.evaluated_at >= self.pause

    def evaluations(self, seconds: float) -> int:
        """Return roughly how many evaluations there are in a complete run that takes `seconds` seconds."""
        if every := self.settings.eval_val_every:
            return self.total // every
        return self.total // self.per_epoch + int(seconds / AUTOMATIC)

    def is_over_time(self) -> bool:
        """Return whether the time limit has been reached."""
        return 0 < 60 * self.settings.max_time <= self.now

    def is_save_due(self) -> bool:
        """Return whether `checkpoint_every` seconds have passed since a checkpoint was last saved."""
        return 0 < self.settings.checkpoint_every <= self.now - self.saved_at

    def saved(self) -> None:
        """Record that a checkpoint was saved."""
        self.saved_at = self.now

    def evaluated(self, seconds: float) -> None:
        """Record an evaluation and how long it took."""
        self.pause = max(AUTOMATIC, TRAINING * seconds)
        self.evaluated_at = self.now

    def count(self, iteration: int, best: bool) -> None:
        """Count an evaluation towards `patience`, or reset the count if the loss is the lowest so far."""
        # Evaluations during warm-up do not count: the learning rate may still be too low to improve the loss.
        self.since_best = 0 if best else self.since_best + (iteration > self.warmup)

    def reason_to_end(self) -> str:
        """Return the reason for ending training early, or an empty string if there is none."""
        if self.is_over_time():
            limit = self.settings.max_time
            return f"reached the time limit of {limit:g} minute{'s' * (limit != 1)}"
        if 0 < self.settings.patience <= self.since_best:
            return f"the validation loss has not improved in {counted(self.since_best, 'evaluation')}"
        return ""
