"""A fake clock for training runs, so that tests do not depend on the speed of the machine."""

from minichar.checkpoints import checkpoint
from minichar.training import start
from minichar.training.evaluation import Measurement
from minichar.training.trainer import Trainer

USERS = ("training.timetable", "cli.bar", "cli.report", "cli.speed", "api.training")
"""Modules that measure time during training."""


class Clock:
    """A clock that advances only when a run reads its text, trains, evaluates or saves.

    Attributes
    ----------
    now : float
        The time in seconds.
    step : callable
        ``step(i)`` is the number of seconds that training step i takes, counting from 1.
    reading, chunk, saving : float
        Seconds to read the text, to evaluate a chunk and to save a checkpoint.
    """

    def __init__(self, monkeypatch):
        self.now, self.step = 1000.0, lambda i: 1.0
        self.reading = self.chunk = self.saving = 0.0
        for module in USERS:
            monkeypatch.setattr(f"minichar.{module}.monotonic", lambda: self.now)

        def slow(owner, name, seconds):
            original = getattr(owner, name)

            def advance(*arguments, **options):
                self.now += seconds(*arguments)
                return original(*arguments, **options)

            monkeypatch.setattr(owner, name, advance)

        slow(start, "read_corpus", lambda *_: self.reading)
        slow(Trainer, "learn", lambda trainer: self.step(trainer.iteration + 1))
        slow(Measurement, "__call__", lambda *_: self.chunk)
        slow(checkpoint, "save", lambda *_: self.saving)
