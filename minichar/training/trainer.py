"""The training loop.

    for each chunk: forward pass, loss, backward pass, clipping, RMSprop
    every `eval_val_every` chunks: evaluate, save a checkpoint

The trainer prints nothing. It yields events, which the command line displays.
"""

from collections.abc import Iterator
from itertools import islice
from math import isfinite, log
from pathlib import Path
from typing import Any

import numpy as np

from minichar.checkpoints import checkpoint
from minichar.checkpoints.archive import check_folder
from minichar.checkpoints.naming import checkpoint_path, loss_in_name, to_delete, unused
from minichar.devices.backend import Array
from minichar.errors import MinicharError, Option
from minichar.model import CharRNN
from minichar.text.batches import Split
from minichar.training.evaluation import evaluate
from minichar.training.events import Evaluated, Event, Saved, Step
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep

EXPLODED = 3.0
"""Training fails if the loss exceeds the first loss by this factor, as in char-rnn.

If a run starts from trained weights and its first loss is below the uniform baseline ln V, the baseline is
used instead.
"""


class Trainer:
    """A training run of one model on one text.

    Parameters
    ----------
    model : CharRNN
        Trained in place.
    split : Split
        Chunks for training and validation.
    settings : Settings
    origin : dict
        ``path`` and ``digest`` of the text. Checkpoints store them, so a resumed run can detect a
        different text.
    resumed : checkpoint.TrainingState, optional
        The state to continue from.
    """

    def __init__(
        self,
        model: CharRNN,
        split: Split,
        settings: Settings,
        origin: dict[str, Any],
        resumed: checkpoint.TrainingState | None = None,
    ) -> None:
        self.model, self.split, self.settings, self.origin = model, split, settings, origin
        self.backend = model.parameters.backend
        self.step = TrainingStep(model, split.T, split.B, settings)
        self.eval_network = model.network(split.T, split.B)
        # Separate from the generators for initial weights and for samples, so that the masks do not
        # depend on them.
        self.generator = self.backend.uniform(settings.seed, 1)
        self.iteration = 0
        self.first_loss: float | None = None
        self.learned = 0
        self.history: list[dict[str, Any]] = []
        self.best_loss = float("inf")
        self.saved: list[Path] = []
        self.stopping = False
        if resumed is not None:
            self._restore(resumed)

    @property
    def iterations(self) -> int:
        """Total number of training steps in the run."""
        return self.settings.max_epochs * len(self.split.train)

    @property
    def epoch(self) -> float:
        """Number of completed epochs, including the fraction of the current epoch."""
        return self.iteration / len(self.split.train)

    @property
    def best(self) -> Path | None:
        """The checkpoint with the lowest validation loss, or the newest of several with that loss.

        This includes the checkpoints in the history and the checkpoints saved by this process, if
        the files still exist.
        """
        folder, name = self.settings.checkpoint_dir, self.settings.run_name
        measured = (
            checkpoint_path(folder, name, row["epoch"], row["val"]["loss"], False)
            for row in self.history
            if row["val"]
        )
        existing = [path for path in (*measured, *self.saved) if path.is_file()]
        return min(reversed(existing), key=loss_in_name, default=None)

    def stop(self) -> None:
        """Stop after the current chunk and save a checkpoint. Safe to call in a signal handler."""
        self.stopping = True

    def run(self) -> Iterator[Event]:
        """Train until `max_epochs` or `stop`, yielding events.

        Raises
        ------
        MinicharError
            If the loss is not finite or has exploded (`EXPLODED`), or a checkpoint cannot be saved.
        """
        check_folder(self.settings.checkpoint_dir)
        measured_at = self.iteration
        while self.iteration < self.iterations and not self.stopping:
            loss = self.learn()
            step = Step(self.iteration, self.epoch, loss, self.backend.to_host)
            if self.first_loss is None:
                self.check(step.loss)
            yield step
            if "loss" in vars(step):  # already copied to the host, so the check is free
                self.check(step.loss)
            if self.iteration % self.settings.eval_val_every == 0 or self.iteration == self.iterations:
                measured_at = self.iteration
                evaluated = self.validate()
                yield evaluated
                yield self.save(evaluated.val.loss if evaluated.val else None)
        if self.iteration > measured_at:
            self.look(self.step.worst)
            yield self.save(None)

    @np.errstate(over="ignore", invalid="ignore")  # `check` reports a non-finite loss
    def learn(self) -> Array:
        """Train on the next chunk; return its loss, a scalar array on the device."""
        k = self.iteration % len(self.split.train)
        if k == 0:
            self.step.network.reset()
            self.set_rates()
        self.step.learn(*self.split.train[k], self.generator)
        self.iteration += 1
        self.learned += 1
        return self.step.loss.copy()

    def set_rates(self) -> None:
        """Set the learning rate and the teacher-forcing ratio of the current epoch."""
        e = self.iteration // len(self.split.train)
        self.step.set_rates(self.settings.learning_rate_at(e), self.settings.teacher_forcing_ratio_at(e))

    def look(self, loss: Array) -> float:
        """Copy a loss to the host and check it.

        Raises
        ------
        MinicharError
            If training has failed.
        """
        value = float(self.backend.to_host(loss))
        self.check(value)
        return value

    @np.errstate(over="ignore", invalid="ignore")
    def validate(self) -> Evaluated:
        """Evaluate on the validation part from a zero state, and add a row to the history."""
        self.look(self.step.worst)
        train_loss = self.look(self.step.total / self.learned)
        if not self.backend.to_host(self.backend.xp.isfinite(self.model.parameters.flat).all()):
            self.check(float("nan"))
        val = fit = None
        if len(self.split.val):
            self.eval_network.reset()
            val = evaluate(self.eval_network, self.split.val)
            self.check(val.loss)
            self.eval_network.reset()
            fit = evaluate(self.eval_network, islice(self.split.train, len(self.split.val)))
        e = (self.iteration - 1) // len(self.split.train)
        evaluated = Evaluated(
            self.iteration,
            self.epoch,
            train_loss,
            val,
            fit,
            self.settings.learning_rate_at(e),
            self.settings.teacher_forcing_ratio_at(e),
        )
        self.step.total[...] = self.step.worst[...] = 0.0
        self.learned = 0
        self.history.append(evaluated.row())
        return evaluated

    def begin_with(self, first_loss: float) -> None:
        """Set the first loss and the limit derived from it."""
        # On new text, the loss of a trained model can increase a lot and still be below the uniform baseline.
        self.limit = EXPLODED * max(first_loss, log(self.model.config.vocab_size))
        self.first_loss = first_loss
        self.step.limit[...] = self.limit

    def check(self, loss: float) -> None:
        """Raise a `MinicharError` if `loss` is not finite or exceeds the limit."""
        if self.first_loss is None:
            self.begin_with(loss)
        if isfinite(loss) and loss <= self.limit:
            return
        limit = f"; the first loss was {self.first_loss:.4g}" if isfinite(loss) else ""
        good = f"The last good checkpoint is {self.saved[-1]}" if self.saved else "No checkpoint was saved"
        raise MinicharError(
            f"training failed: loss {loss:.4g} at epoch {self.epoch:.2f}{limit}. {self.bad_parameter()}. "
            f"{good}; try a lower ",
            Option("learning_rate"),
            " or ",
            Option("grad_clip"),
        )

    def bad_parameter(self) -> str:
        """Return a sentence that names the first non-finite parameter, or the largest if all are finite."""
        xp, to_host = self.backend.xp, self.backend.to_host
        largest = {name: float(to_host(xp.abs(view).max())) for name, view in self.model.parameters.items()}
        for name, value in largest.items():
            if not isfinite(value):
                return f"Parameter {name} is no longer finite"
        name = max(largest, key=lambda name: largest[name])
        return f"Parameter {name} has grown to {largest[name]:.3g}"

    def save(self, val_loss: float | None) -> Saved:
        """Save a checkpoint. Its name contains the validation loss, or ``interrupted`` if that is None."""
        settings = self.settings
        best = val_loss is not None and val_loss <= self.best_loss
        if val_loss is not None and best:
            self.best_loss = val_loss
        path = checkpoint_path(
            settings.checkpoint_dir, settings.run_name, self.epoch, val_loss, self.stopping
        )
        if val_loss is None:
            path = unused(path)
        self.model.details = {
            "val_loss": val_loss,
            "epoch": self.epoch,
            "origin": self.origin,
            "settings": settings.to_json(),
        }
        self.saved = [*(p for p in self.saved if p != path), path]
        checkpoint.save(path, self.model, self._state())
        if settings.keep:
            for old in to_delete(self.saved, settings.keep):
                old.unlink(missing_ok=True)
                self.saved.remove(old)
        return Saved(path, best)

    def _state(self) -> checkpoint.TrainingState:
        to_host = self.backend.to_host
        progress = {
            "iteration": self.iteration,
            "first_loss": self.first_loss,
            "learned": self.learned,
            "total": float(to_host(self.step.total)),
            "history": self.history,
            "device": self.backend.kind,
            "random": self.generator.state,
        }
        return checkpoint.TrainingState(
            to_host(self.step.optimiser.mean_square), to_host(self.step.network.state), progress
        )

    def _restore(self, resumed: checkpoint.TrainingState) -> None:
        progress = resumed.progress
        try:
            if resumed.state.shape != self.step.network.state.shape or progress["iteration"] < 1:
                raise ValueError("its carried state or iteration is invalid")
            self.step.optimiser.mean_square[...] = self.backend.to_device(resumed.mean_square)
            self.step.network.state = self.backend.to_device(resumed.state)
            self.iteration = int(progress["iteration"])
            self.set_rates()
            self.begin_with(float(progress["first_loss"]))
            self.learned, total = int(progress["learned"]), float(progress["total"])
            if not (0 <= self.learned <= self.iteration and isfinite(total)):
                raise ValueError("its total loss is invalid")
            self.step.total[...] = total
            self.history = list(progress["history"])
            measured = (row["val"]["loss"] for row in self.history if row["val"])
            self.best_loss = min(map(float, measured), default=self.best_loss)
            if progress["device"] == self.backend.kind:
                self.generator.state = progress["random"]
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise MinicharError(
                f"the checkpoint cannot be resumed: its training progress is damaged ({error})"
            ) from error
