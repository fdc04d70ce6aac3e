"""Tests that a stopped and resumed run is bitwise identical to an uninterrupted run."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from toys import parts, put_together, take, toy_settings

from minichar.checkpoints.checkpoint import load_training
from minichar.checkpoints.choosing import best_checkpoint
from minichar.errors import Completed
from minichar.training import start
from minichar.training.events import Step
from minichar.training.start import begin, resume

RANDOM = {"dropout": 0.3, "start_ss": 0.8, "decay_ss": 0.1, "min_ss": 0.5, "epoch_reset": True}
RATES = {"learning_rate_decay": 0.5, "learning_rate_decay_after": 0}


@pytest.fixture
def settings_of(tmp_path):
    return lambda **changes: toy_settings(tmp_path, **RANDOM | RATES | {"max_epochs": 3} | changes)


def everything(trainer):
    return {
        "weights": trainer.model.parameters.flat.copy(),
        "theta": trainer.step.theta.flat.copy(),
        "mean_square": trainer.step.optimiser.mean_square.copy(),
        "state": trainer.step.network.state,
        "random": trainer.generator.state,
        "position": (trainer.iteration, trainer.first_loss),
        "recent": (trainer.learned, float(trainer.step.total)),
        "history": list(trainer.history),
    }


def assert_same(trainer, other):
    one, two = everything(trainer), everything(other)
    for name in ("weights", "theta", "mean_square", "state"):
        assert one[name].dtype == two[name].dtype
        np.testing.assert_array_equal(one.pop(name), two.pop(name), err_msg=name)
    assert one == two


def in_two(settings, n, total):
    """Train on `n` chunks, stop, resume until chunk `total`, and return the second ``(trainer, events)``."""
    first = begin(settings).trainer
    take(first, n)
    second = resume(first.saver.saved[-1], {}).trainer
    assert_same(first, second)
    events = take(second, total)
    assert second.iteration == total
    return second, events


@pytest.mark.parametrize("n", [1, 32, 33])
def test_n_steps_plus_resumed_steps_equal_a_whole_run(settings_of, n):
    """An epoch has 33 steps. The checkpoints of both runs are the same, except for what the clock says."""
    settings = settings_of(eval_val_every=8)
    whole = begin(settings).trainer
    assert len(whole.split.train) == 33
    events = take(whole, 40)
    second, later = in_two(settings, n, 40)
    assert_same(whole, second)
    steps, later_steps = ([e for e in some if isinstance(e, Step)] for some in (events, later))
    assert steps[n:] == later_steps
    assert [step.loss for step in steps[n:]] == [step.loss for step in later_steps]
    header, arrays = parts(whole.saver.last)
    header_2, arrays_2 = parts(second.saver.last)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, arrays_2[name], err_msg=name)
    assert header["details"].pop("run")["iteration"] == header_2["details"].pop("run")["iteration"] == 40
    del header["details"]["seconds"], header_2["details"]["seconds"]
    assert header == header_2


def test_the_checkpoint_that_a_run_is_resumed_from_can_be_the_best_one(settings_of, tmp_path):
    """The history does not contain the loss that was measured when the run was stopped."""
    first = begin(settings_of(eval_val_every=8)).trainer
    take(first, 20)
    stopped = first.saver.last
    low = stopped.rename(stopped.with_name("lm_lstm_epoch0.61_1.0000.npz"))
    for changes in ({}, {"checkpoint_dir": tmp_path / "other"}):
        second = resume(low, changes).trainer
        take(second, 30)
        there = second.settings.checkpoint_dir
        assert second.best == best_checkpoint(there)
        assert (second.best == low) == (there == low.parent)


@pytest.mark.parametrize(
    "changes",
    [
        {"ss_feed": "argmax", "dtype": "float64", "model": "rnn"},
        {"split": "tail", "reset_on": "\n", "model": "gru"},
        {"ema": 0.9, "weight_drop": 0.3, "embedding": 4, "layer_norm": True},
        {"ema": 0.9, "embedding": 8, "tied": True},
        {"val_frac": 0.0},
        {"grad_clip": 0.01, "clip_norm": 0.1, "weight_decay": 0.3, "model": "gru-reset-before"},
        {"min_freq": 30, "dropout": 0.0, "use_ss": False},
        {"num_layers": 1, "batch_size": 1},
        {"batch_size": 500, "seq_length": 100},
    ],
    ids=str,
)
def test_every_option_that_affects_training(settings_of, changes):
    settings = settings_of(**changes)
    whole = begin(settings).trainer
    total = min(whole.iterations, 36)
    take(whole, total)
    assert_same(whole, in_two(settings, total // 2, total)[0])


@pytest.mark.parametrize(("warm", "count"), [(0, 4), (10, 1)])
def test_patience_counts_the_evaluations_before_resuming(settings_of, warm, count):
    trainer = begin(settings_of(eval_val_every=5)).trainer
    take(trainer, 5)
    (row,) = trainer.history
    for k, loss in enumerate((2.0, 2.5, None, 2.0, 2.6, 2.1)):
        trainer.history.append(row | {"iteration": 6 + k, "val_loss": loss})
    trainer.saver.save(trainer.epoch, None, True)
    again = resume(trainer.saver.saved[-1], {"warmup": warm / trainer.iterations}).trainer
    assert again.saver.best_loss == 2.0
    assert again.timetable.since_best == count  # counted from the first of the two lowest losses


def test_a_run_that_was_ended_by_patience_continues_only_with_more_patience(settings_of):
    options = {"learning_rate": 0.2, "eval_val_every": 3, "max_epochs": 5}
    whole = begin(settings_of(**options, patience=2)).trainer
    list(whole.run())
    short = begin(settings_of(**options, patience=1)).trainer
    list(short.run())
    assert short.iteration < whole.iteration < whole.iterations
    error = "not improved in 1 evaluation, and patience is 1: set a larger value, or 0, to continue"
    with pytest.raises(Completed, match=error):
        resume(short.saver.saved[-1], {})
    longer = resume(short.saver.saved[-1], {"patience": 2}).trainer
    list(longer.run())
    assert_same(whole, longer)


class TestSeveralCheckpoints:
    """Tests for the choice of the checkpoint to resume in a directory."""

    @pytest.fixture
    def finished(self, settings_of):
        trainer = begin(settings_of(eval_val_every=10, keep=0, max_epochs=1)).trainer
        list(trainer.run())
        return trainer

    def test_a_copied_directory_resumes_from_the_last_step(self, finished, tmp_path):
        first, *_, last = finished.saver.saved
        copy = shutil.copytree(last.parent, tmp_path / "copy", copy_function=shutil.copyfile)
        os.utime(copy / first.name, (2e9, 2e9))
        run = resume(copy, {"max_epochs": 2})
        assert run.trainer.iteration == finished.iteration
        assert run.trainer.run_id == finished.run_id
        assert not [note for note in run.notes if "run" in note]
        whole = begin(replace(finished.settings, max_epochs=2, checkpoint_dir=tmp_path / "whole")).trainer
        for trainer in (whole, run.trainer):  # with more epochs, the run continues exactly
            take(trainer, finished.iteration + 3)
        np.testing.assert_array_equal(run.trainer.model.parameters.flat, whole.model.parameters.flat)
        assert resume(copy, {}).trainer.run_id == finished.run_id

    def test_the_training_state_is_read_once(self, finished, monkeypatch):
        read = []
        monkeypatch.setattr(start, "load_training", lambda path: read.append(path) or load_training(path))
        for path in (finished.saver.last, finished.saver.last.parent):
            resume(path, {"max_epochs": 2})
            assert read.pop() == finished.saver.last
            assert read == []

    def test_other_runs_are_named(self, finished, settings_of):
        other = begin(settings_of(seed=5, savefile="other")).trainer
        take(other, 3)
        run = resume(other.settings.checkpoint_dir, {})
        assert run.trainer.run_id == other.run_id != finished.run_id
        (note,) = (note for note in run.notes if "other runs" in note)
        assert f": {finished.saver.last.name!r}; to resume one: " in note
        assert note.endswith(f" minichar train --resume {finished.saver.last}")
        assert resume(other.saver.last, {}).trainer.run_id == other.run_id
        header, arrays = parts(other.saver.last)
        del header["details"]["run"]  # files without a record come last
        for path in other.settings.checkpoint_dir.glob("*_other_*"):
            path.unlink()
        put_together(other.saver.last, header, arrays)
        (note,) = (
            note for note in resume(other.saver.last.parent, {"max_epochs": 2}).notes if "other runs" in note
        )
        assert note.endswith(f" minichar train --resume {other.saver.last}")

    def test_a_run_with_the_same_settings_is_another_run(self, finished):
        assert begin(finished.settings).trainer.run_id != finished.run_id

    def test_a_run_resumed_from_an_earlier_step_is_another_run(self, finished):
        """Otherwise, resuming the directory would continue from the later step of the original run."""
        first, *_, last = finished.saver.saved
        other = resume(first, {"learning_rate": 0.003}).trainer
        again = resume(first, {"learning_rate": 0.003}).trainer
        assert len({finished.run_id, other.run_id, again.run_id}) == 3
        take(other, 13)
        assert resume(first.parent, {}).trainer.iteration == 13
        assert resume(last, {"max_epochs": 2}).trainer.run_id == finished.run_id

    def test_a_checkpoint_without_a_record_gets_a_run(self, finished, tmp_path):
        header, arrays = parts(finished.saver.last)
        del header["details"]["run"]
        path = put_together(tmp_path / "old.npz", header, arrays)
        older = resume(path, {"max_epochs": 2}).trainer
        take(older, older.iteration + 10)
        assert resume(tmp_path, {}).trainer.run_id == older.run_id != finished.run_id
