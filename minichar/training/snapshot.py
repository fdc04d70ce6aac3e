"""Copy the state of a training run to and from its checkpoints."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from minichar.checkpoints.state import Progress, TrainingState
from minichar.errors import MinicharError

if TYPE_CHECKING:
    from minichar.training.trainer import Trainer


def state_of(trainer: Trainer) -> TrainingState:
    """Return the training state, including the recurrent states of all processes.

    All processes must call this function.
    """
    to_host = trainer.backend.to_host
    assert trainer.first_loss is not None  # at least one step has been completed
    progress = Progress(
        trainer.iteration,
        trainer.first_loss,
        trainer.learned,
        float(to_host(trainer.step.total)),
        trainer.backend.kind,
        trainer.generator.state,
    )
    step = trainer.step
    return TrainingState(
        to_host(step.optimiser.mean_square),
        trainer.team.gather(to_host(step.network.state)),
        progress,
        trainer.history,
        None if step.average is None else to_host(step.theta.flat),
    )


def restore(trainer: Trainer, resumed: TrainingState) -> None:
    """Restore a training state. Each process restores the recurrent states of only its own streams.

    Raises
    ------
    MinicharError
        If the state does not match the model or is corrupted.
    """
    progress = resumed.progress
    if resumed.state.shape != trainer.model.config.state_shape(trainer.split.B):
        raise MinicharError("the checkpoint cannot be resumed: its carried state has the wrong shape")
    if resumed.theta is not None:
        trainer.step.theta.flat[...] = trainer.backend.to_device(resumed.theta)
    trainer.step.optimiser.mean_square[...] = trainer.backend.to_device(resumed.mean_square)
    trainer.step.network.state = trainer.backend.to_device(resumed.state[..., trainer.step.columns])
    trainer.iteration, trainer.learned = progress.iteration, progress.learned
    trainer.begin_with(progress.first_loss)
    trainer.step.total[...] = progress.total
    trainer.history = resumed.history
    for iteration, loss in zip(trainer.history["iteration"], trainer.history["val_loss"], strict=True):
        if not isnan(loss):
            trainer.timetable.count(int(iteration), trainer.saver.record(float(loss)))
    if progress.device == trainer.backend.kind:
        try:
            trainer.generator.state = progress.random
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise MinicharError(
                f"the checkpoint cannot be resumed: its random state is corrupted ({error})"
            ) from error
