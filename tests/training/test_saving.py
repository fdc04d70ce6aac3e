"""The checkpoints of a run: file names, the best checkpoint, stopping, and ``keep``."""

import os

import numpy as np
import pytest
from toys import parts, take

import minichar.training.trainer as trainer_module
from minichar.checkpoints.checkpoint import load
from minichar.checkpoints.naming import best_checkpoint, loss_in_name
from minichar.errors import MinicharError
from minichar.training.evaluation import Evaluation
from minichar.training.trainer import Evaluated, Saved, Step


def names(trainer):
    return sorted(os.listdir(trainer.settings.checkpoint_dir))


def test_the_file_name_agrees_with_the_content(trainer_of):
    trainer = trainer_of(eval_val_every=20, savefile="toy")
    n = len(trainer.split.train)
    events = list(trainer.run())
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    saved = [event for event in events if isinstance(event, Saved)]
    for measured, event in zip(evaluated, saved, strict=True):
        assert event.path.name == f"lm_toy_epoch{measured.iteration / n:.2f}_{measured.val.loss:.4f}.npz"
        header, _ = parts(event.path)
        assert header["details"]["val_loss"] == measured.val.loss
        assert header["details"]["epoch"] == measured.epoch
        assert header["training"]["iteration"] == measured.iteration
        assert header["training"]["history"][-1]["val"]["loss"] == measured.val.loss
    assert names(trainer) == sorted(event.path.name for event in saved)
    np.testing.assert_array_equal(load(saved[-1].path).parameters.flat, trainer.model.parameters.flat)


def test_a_checkpoint_is_the_best_if_no_earlier_loss_is_lower(trainer_of, monkeypatch):
    losses = iter(np.repeat([3.0, 2.0, 2.5, 2.0, 1.0, 1.5], 2))  # one for val and one for train
    monkeypatch.setattr(trainer_module, "evaluate", lambda *_: Evaluation(next(losses), 1, 1, 24))
    trainer = trainer_of(eval_val_every=6, max_epochs=1)
    assert 30 < trainer.iterations <= 36
    best = [event.best for event in trainer.run() if isinstance(event, Saved)]
    assert best == [True, True, False, True, True, False]


def test_without_a_validation_part_there_is_no_validation_loss(trainer_of):
    trainer = trainer_of(val_frac=0, train_frac=1, eval_val_every=25, max_epochs=1)
    events = list(trainer.run())
    assert [event.val for event in events if isinstance(event, Evaluated)] == [None, None]
    assert [event.best for event in events if isinstance(event, Saved)] == [False, False]
    n = len(trainer.split.train)
    assert names(trainer) == [f"lm_lstm_epoch{e:.2f}_unmeasured.npz" for e in (25 / n, 1)]
    assert best_checkpoint(trainer.settings.checkpoint_dir) == trainer.saved[-1]


def test_stopping_saves_a_checkpoint_immediately(trainer_of):
    trainer = trainer_of()
    events = take(trainer, 7)
    assert [type(event) for event in events] == [Step] * 7 + [Saved]
    assert names(trainer) == [f"lm_lstm_epoch{7 / len(trainer.split.train):.2f}_interrupted.npz"]


def test_a_stopped_run_does_not_overwrite_a_checkpoint_of_another_run(trainer_of):
    first, second = trainer_of(), trainer_of(seed=5)
    take(first, 7)
    before = first.saved[0].read_bytes()
    take(second, 7)
    assert second.saved[0].name == first.saved[0].name.replace("interrupted", "interrupted-2")
    assert first.saved[0].read_bytes() == before


def test_stopping_right_after_an_evaluation_saves_once(trainer_of):
    trainer = trainer_of(eval_val_every=7)
    events = take(trainer, 7)
    assert [type(event) for event in events] == [Step] * 7 + [Evaluated, Saved]
    assert len(names(trainer)) == 1
    assert loss_in_name(trainer.saved[0]) < 10


def test_stopping_before_the_first_chunk_saves_nothing(trainer_of):
    trainer = trainer_of()
    trainer.stop()
    assert list(trainer.run()) == []
    assert names(trainer) == []


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_keep_keeps_the_best_checkpoints_and_the_last_one(trainer_of, keep):
    trainer = trainer_of(keep=keep, eval_val_every=4, learning_rate=0.02, max_epochs=1)
    written = [event.path for event in trainer.run() if isinstance(event, Saved)]
    assert len(written) > 6
    best = sorted(written, key=loss_in_name)[:keep] if keep else written
    assert names(trainer) == sorted({path.name for path in [*best, written[-1]]})
    assert sorted(trainer.saved) == sorted({*best, written[-1]})


def test_keep_does_not_delete_other_files(trainer_of, tmp_path):
    (tmp_path / "cv").mkdir()
    others = ["lm_other_epoch1.00_9.0000.npz", "README.md"]
    for name in others:
        (tmp_path / "cv" / name).touch()
    trainer = trainer_of(keep=1, eval_val_every=4, max_epochs=1)
    list(trainer.run())
    assert set(others) < set(names(trainer))


def test_a_checkpoint_may_be_deleted_during_training(trainer_of):
    trainer = trainer_of(keep=1, eval_val_every=4, max_epochs=1)
    for event in trainer.run():
        if isinstance(event, Saved):
            event.path.unlink()
    assert names(trainer) == []


def test_a_directory_that_is_not_writable_is_reported_before_training(trainer_of, tmp_path, monkeypatch):
    (tmp_path / "cv").write_text("a file")
    trainer = trainer_of()
    monkeypatch.setattr(trainer, "learn", None)
    with pytest.raises(MinicharError, match=r"cannot write to .*/cv/: File exists; choose another directory"):
        list(trainer.run())
    assert (tmp_path / "cv").read_text() == "a file"
