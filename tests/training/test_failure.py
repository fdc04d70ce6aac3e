"""Tests for failing training runs: when they stop, and their error messages."""

import re

import numpy as np
import pytest
from toys import listing, take

from minichar.checkpoints.checkpoint import load
from minichar.errors import MinicharError
from minichar.history import LARGEST
from minichar.training.start import resume
from minichar.training.trainer import Step


def sabotage(trainer, iteration, name, change, watched=False):
    """Change a parameter after `iteration` chunks, and return ``(checkpoints, error)`` when the run fails.

    If `watched` is true, the loss of every chunk is read.
    """
    before = None
    try:
        for event in trainer.run():
            if watched and isinstance(event, Step):
                assert isinstance(event.loss, float)  # only the trainer raises the error
            if isinstance(event, Step) and event.iteration == iteration:
                before = listing(trainer.settings.checkpoint_dir)
                change(trainer.model.parameters[name])
    except MinicharError as error:
        assert listing(trainer.settings.checkpoint_dir) == before
        return before, str(error)
    raise AssertionError("the run did not fail")


@pytest.mark.parametrize(
    ("name", "value", "watched"),
    [
        ("layer1.W", np.nan, True),
        ("readout.W", np.nan, False),
        ("readout.W", -np.inf, True),
        ("layer1.W", -np.inf, False),
    ],
)
def test_a_non_finite_weight_stops_the_run(trainer_of, value, name, watched):
    """If losses are read, NaN stops the run at the next chunk, and infinity at most one chunk later.

    Otherwise, the run stops at the next evaluation, before a checkpoint is saved.
    """
    trainer = trainer_of(eval_val_every=5)
    checkpoints, error = sabotage(trainer, 12, name, lambda view: view.__setitem__((1, 2), value), watched)
    assert re.match(r"training failed: loss .*Parameter (layer\d|readout)\.W is no longer finite", error)
    assert trainer.iteration <= (15 if not watched else 13 if np.isnan(value) else 14)
    if np.isnan(value):
        assert f"Parameter {name} " in error
    assert len(checkpoints) == 2
    for path in trainer.saver.saved:
        assert np.isfinite(load(path).parameters.flat).all()


@pytest.mark.parametrize("watched", [True, False])
def test_a_loss_three_times_the_first_stops_the_run(trainer_of, watched):
    trainer = trainer_of(eval_val_every=5)
    checkpoints, error = sabotage(trainer, 7, "readout.W", lambda view: view.__imul__(3e4), watched)
    assert trainer.iteration <= (8 if watched else 10)
    assert f"the initial loss was {trainer.first_loss:.4g}" in error
    assert "Parameter readout.W has grown to " in error
    rate = trainer.settings.learning_rate
    assert f"try a learning_rate below {rate:g} or a lower grad_clip" in error
    assert len(checkpoints) == 1


def test_a_loss_too_large_for_a_checkpoint_stops_the_run(trainer_of):
    trainer = trainer_of()
    trainer.begin_with(LARGEST)
    assert trainer.step.limit == LARGEST
    trainer.check(LARGEST)
    with pytest.raises(MinicharError, match=r"training failed: loss 1\.01e\+15"):
        trainer.check(1.01 * LARGEST)


@pytest.mark.parametrize("interrupted", [True, False])
def test_after_a_single_bad_unread_loss_nothing_is_saved(trainer_of, interrupted):
    """The mean loss of the chunks is still below the limit."""
    trainer = trainer_of(eval_val_every=5)

    def one_chunk_was_bad():
        for event in trainer.run():
            if isinstance(event, Step) and event.iteration == 7:
                trainer.step.worst[...] = 3.1 * trainer.first_loss
                trainer.stopping = interrupted

    with pytest.raises(MinicharError, match=r"training failed: loss [\d.]+ at epoch .*the initial loss was"):
        one_chunk_was_bad()
    assert trainer.iteration == (7 if interrupted else 10)
    assert [trainer.saver.last] == trainer.saver.saved, "that of step 5"


def test_the_limit_is_three_times_the_first_loss(trainer_of):
    """A high first loss does not stop a run. A trained model's loss may rise to 3 ln V on new text."""
    with pytest.raises(MinicharError, match="training failed: loss nan at epoch 0"):
        trainer_of().check(np.nan)
    trainer = trainer_of()
    untrained = np.log(trainer.model.config.vocab_size)
    trainer.check(0.001)
    trainer.check(2.9 * untrained)
    with pytest.raises(MinicharError, match="training failed"):
        trainer.check(3.1 * untrained)
    trainer = trainer_of()
    for loss in (5.0, 15.0, 0.1):
        trainer.check(loss)
    for loss in (15.001, np.nan, np.inf, -np.inf):
        with pytest.raises(MinicharError, match=r"training failed: .*No checkpoint was saved; try"):
            trainer.check(loss)


def test_the_error_of_a_resumed_run_names_the_checkpoint_that_it_was_resumed_from(trainer_of):
    trainer = trainer_of()
    take(trainer, 5)
    (path,) = trainer.saver.saved
    with pytest.raises(MinicharError, match=rf"The last good checkpoint is \S*{path.name}; try"):
        resume(path, {}).trainer.check(np.nan)


def test_the_bad_parameter_is_found_in_the_weights_being_trained_and_not_in_their_average(trainer_of):
    trainer = trainer_of(ema=0.9)
    trainer.learn()
    trainer.step.theta["readout.W"][1, 2] = np.nan
    assert np.isfinite(trainer.model.parameters.flat).all()
    with pytest.raises(MinicharError, match=r"Parameter readout\.W is no longer finite"):
        trainer.check(np.nan)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_a_model_corrupted_by_the_last_update_is_not_saved(trainer_of, value):
    trainer = trainer_of(eval_val_every=5)
    checkpoints, error = sabotage(trainer, 10, "readout.W", lambda view: view.__setitem__(0, value))
    assert re.match(r"training failed: .*Parameter readout\.W", error)
    assert len(checkpoints) == 1


@pytest.mark.parametrize(
    ("model", "learning_rate", "val_frac"), [("lstm", 1e38, 0.0), ("gru", 1e300, 0.05), ("rnn", 1e300, 0.0)]
)
def test_a_learning_rate_that_is_far_too_large_causes_no_warning_and_no_bad_checkpoint(
    trainer_of, model, learning_rate, val_frac
):
    """The test suite turns warnings into errors."""
    options = {"model": model, "learning_rate": learning_rate, "val_frac": val_frac, "clip_norm": 1}
    trainer = trainer_of(**options, eval_val_every=1)
    with pytest.raises(MinicharError, match=r"training failed: .*Parameter (layer\d|readout)\."):
        list(trainer.run())
    assert trainer.saver.saved == []
