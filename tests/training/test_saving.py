"""Tests for a run's checkpoints: file names, the best checkpoint, stopping, and ``keep``."""

import errno
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from toys import history_of, history_with, parts, take

import minichar.files as files
import minichar.training.saving as saving
import minichar.training.trainer as trainer_module
from minichar.checkpoints.checkpoint import load
from minichar.checkpoints.choosing import best_checkpoint
from minichar.checkpoints.naming import loss_in_name
from minichar.errors import MinicharError
from minichar.history import History
from minichar.training.evaluation import Evaluation
from minichar.training.events import Evaluated, Saved, Step, Warned
from minichar.training.saving import Saver
from minichar.training.start import resume


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
        assert history_of(event.path)[-1]["val_loss"] == measured.val.loss
    assert names(trainer) == sorted(event.path.name for event in saved)
    np.testing.assert_array_equal(load(saved[-1].path).parameters.flat, trainer.model.parameters.flat)


def test_a_checkpoint_is_the_best_so_far_if_its_loss_is_lower_than_all_earlier_ones(trainer_of, monkeypatch):
    losses = iter(np.repeat([3.0, 2.0, 2.5, 2.0, 1.0, 1.5], 2))  # one loss each for `val` and `fit`
    monkeypatch.setattr(
        trainer_module,
        "evaluate",
        lambda measure, chunks: Evaluation(next(losses), 1, 1, sum(x.size for x, _ in chunks)),
    )
    trainer = trainer_of(eval_val_every=6, max_epochs=1)
    assert 30 < trainer.iterations <= 36
    best = [event.best for event in trainer.run() if isinstance(event, Saved)]
    assert best == [True, True, False, False, True, False]


def test_the_best_checkpoint_is_one_that_still_exists(trainer_of):
    """Checkpoints may be deleted during training."""
    trainer = trainer_of(eval_val_every=20, keep=1)
    for event in trainer.run():
        if isinstance(event, Saved):
            event.path.unlink()
    assert (trainer.best, names(trainer)) == (None, [])
    trainer = trainer_of(eval_val_every=20)
    list(trainer.run())
    for path in sorted(trainer.saver.saved, key=loss_in_name):
        assert trainer.best == path == best_checkpoint(trainer.settings.checkpoint_dir)
        path.unlink()
    assert trainer.best is None


def test_losses_are_compared_as_precisely_as_in_file_names(tmp_path):
    """A checkpoint with the name of an earlier one, perhaps of another run, does not overwrite it."""
    (tmp_path / "lm_toy_epoch2.00_3.0000.npz").write_text("another run")
    saver = Saver(tmp_path, "toy", 1, lambda path, val_loss: path.touch())
    for epoch, loss in ((1.0, 2.00001), (1.001, 2.00002), (2.0, 3.0)):
        saver.save(epoch, loss, False)
    names = [f"lm_toy_epoch{epoch}-2.npz" for epoch in ("1.00_2.0000", "2.00_3.0000")]
    other = tmp_path / "lm_toy_epoch2.00_3.0000.npz"
    assert sorted(os.listdir(tmp_path)) == sorted([*(path.name for path in saver.saved), other.name])
    assert [path.name for path in saver.saved] == names
    assert (other.read_text(), loss_in_name(saver.saved[0])) == ("another run", 2.0)
    (tmp_path / "lm_toy_epoch0.50_2.0000.npz").touch()
    assert saver.best(history_with(epoch=[0.5, 1.0], val_loss=[2.00001, 2.00002])).name == names[0]
    newest = saver.save(1.5, 2.00003, True).path  # not in the history
    saver.resumed = tmp_path / names[0]
    assert saver.best(history_with(epoch=[0.5, 1.0], val_loss=[2.00001, 2.00002])) == newest
    saver.resumed = (tmp_path / "lm_toy_epoch0.10_1.0000.npz").absolute()
    saver.resumed.touch()
    assert saver.best(History()) == saver.resumed
    saver.resumed = Path("elsewhere") / saver.resumed.name  # a file of another run has the same name
    assert saver.best(History()) == newest


@pytest.mark.parametrize(("options", "tried"), [({}, 1), ({"val_frac": 0, "train_frac": 1}, 0)])
def test_the_search_for_the_best_checkpoint_ends_with_it(trainer_of, monkeypatch, options, tried):
    """A history can have a million evaluations, with or without a loss."""
    trainer, named = trainer_of(eval_val_every=4, keep=2, **options), []
    list(trainer.run())
    name = saving.checkpoint_name
    monkeypatch.setattr(saving, "checkpoint_name", lambda *run: named.append(name(*run)) or named[-1])
    best = trainer.best.name
    assert named == [best][:tried]


def test_without_a_validation_part_there_is_no_validation_loss(trainer_of):
    trainer = trainer_of(val_frac=0, train_frac=1, eval_val_every=25, max_epochs=1)
    events = list(trainer.run())
    assert [event.val for event in events if isinstance(event, Evaluated)] == [None, None]
    assert [event.best for event in events if isinstance(event, Saved)] == [False, False]
    n = len(trainer.split.train)
    assert names(trainer) == [f"lm_lstm_epoch{e:.2f}_unmeasured.npz" for e in (25 / n, 1)]
    assert best_checkpoint(trainer.settings.checkpoint_dir) == trainer.saver.saved[-1] == trainer.best


def test_stopping_saves_a_checkpoint_immediately(trainer_of):
    trainer = trainer_of()
    trainer.stop()
    assert list(trainer.run()) == names(trainer) == [], "before the first chunk, there is nothing to save"
    trainer = trainer_of(eval_val_every=7)
    assert [type(event) for event in take(trainer, 7)] == [Step] * 7 + [Evaluated, Saved], "once"
    no_validation = {"val_frac": 0, "train_frac": 1}
    first, second = trainer_of(**no_validation), trainer_of(**no_validation, seed=5)
    *steps, saved = take(first, 7)
    assert (len(steps), saved.latest) == (7, False), "saved once, because there is no loss to measure"
    name = f"lm_lstm_epoch{7 / len(first.split.train):.2f}_interrupted"
    assert first.saver.last.name == f"{name}.npz"
    before = first.saver.last.read_bytes()
    take(second, 7)
    assert second.saver.last.name == f"{name}-2.npz"
    assert first.saver.last.read_bytes() == before, "that of another run is not overwritten"


@pytest.mark.parametrize("quick", [True, False])
def test_the_loss_at_a_stop_is_measured_if_that_is_quick_but_is_not_in_the_history(
    trainer_of, monkeypatch, quick
):
    """The checkpoint with this loss is the best one even though the history does not contain it.

    Time to save does not count, and the training chunks are not evaluated.
    """
    monkeypatch.setattr("minichar.training.timetable.QUICK", 60.0 if quick else -1.0)
    trainer, evaluated = trainer_of(eval_val_every=10), []
    loss_on, save_latest = trainer.loss_on, trainer.saver.save_latest

    def save_slowly():
        trainer.timetable.begun -= 100
        return save_latest()

    trainer.loss_on = lambda chunks: evaluated.append(chunks is trainer.val) or loss_on(chunks)
    trainer.saver.save_latest = save_slowly
    take(trainer, 25)
    assert evaluated == [True, False, True, False, True]
    first, second, path = trainer.saver.saved
    assert names(trainer) == sorted(each.name for each in (first, second, path))
    assert len(trainer.history) == 2
    best = path if quick else second  # the loss decreases
    assert trainer.best == best_checkpoint(path.parent) == best
    assert parts(path)[0]["details"]["val_loss"] == (trainer.saver.best_loss if quick else None)
    assert history_of(path) == history_of(second)


@pytest.mark.parametrize("keep", [0, 2])
def test_keep_keeps_the_best_checkpoints_and_the_last_one_and_other_files(trainer_of, tmp_path, keep):
    """Other files are not deleted, even if an earlier process of the run wrote them."""
    (tmp_path / "cv").mkdir()
    others = ["lm_other_epoch1.00_9.0000.npz", "lm_lstm_epoch9.00_9.0000.npz", "README.md"]
    for name in others:
        (tmp_path / "cv" / name).touch()
    trainer = trainer_of(keep=keep, eval_val_every=4, learning_rate=0.02, max_epochs=1)
    written = [event.path for event in trainer.run() if isinstance(event, Saved)]
    assert len(written) > 6
    best = sorted(written, key=loss_in_name)[:keep] if keep else written
    assert names(trainer) == sorted({*others, *(path.name for path in [*best, written[-1]])})
    assert sorted(trainer.saver.saved) == sorted({*best, written[-1]})


class TestUndeletable:
    """Tests for checkpoints that cannot be deleted, for example because another program has opened them."""

    @pytest.fixture
    def busy(self, monkeypatch):
        """Refuse to delete the files in a set."""
        unlink, busy = Path.unlink, set()

        def refuse(path, **options):
            if path in busy:
                raise OSError(errno.EBUSY, "Device or resource busy", str(path))
            return unlink(path, **options)

        monkeypatch.setattr(Path, "unlink", refuse)
        return busy

    def test_training_continues_with_one_warning_and_tries_again(self, trainer_of, busy):
        trainer = trainer_of(keep=1, eval_val_every=4, learning_rate=0.02, max_epochs=1)
        warnings = []
        for event in trainer.run():
            if isinstance(event, Saved):
                warnings.append(event.warning)
                if len(warnings) < 4:
                    busy.add(event.path)
                elif len(warnings) == 6:
                    assert set(trainer.saver.obsolete) <= busy
                    assert {path.name for path in busy} < set(names(trainer))
                    left, _ = len(busy), busy.clear()
        (warning,) = filter(None, warnings)
        assert warning.startswith("cannot delete ")
        assert warning.endswith(" (Device or resource busy); trying again after each checkpoint")
        assert (left, trainer.iteration) == (3, trainer.iterations)
        assert sorted(trainer.saver.saved) == sorted(trainer.settings.checkpoint_dir.iterdir())
        assert len(names(trainer)) <= 2

    def test_one_that_cannot_be_replaced_gets_another_name(self, trainer_of, busy, monkeypatch):
        trainer = trainer_of()
        take(trainer, 5)
        first = trainer.save_latest().path
        content, replace = first.read_bytes(), os.replace
        busy.add(first)

        def refuse(source, target):
            if Path(target) in busy:
                raise PermissionError(errno.EPERM, "Operation not permitted", str(target))
            replace(source, target)

        monkeypatch.setattr(os, "replace", refuse)
        saved = trainer.save_latest()
        assert (saved.path.name, saved.latest) == ("lm_lstm_latest-2.npz", True)
        assert saved.warning.startswith(f"cannot delete {first} ")
        assert first.read_bytes() == content
        busy.clear()
        assert trainer.save_latest().path == saved.path
        assert not first.exists()

    def test_if_no_file_can_be_written_training_ends(self, trainer_of, monkeypatch):
        trainer = trainer_of()
        take(trainer, 5)
        trainer.save_latest()
        monkeypatch.setattr(os, "replace", partial(fail, OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(MinicharError, match=r"cannot write .*latest-2\.npz: No space left"):
            trainer.save_latest()


def fail(error, *arguments):
    raise error


def test_a_directory_that_is_not_writable_is_reported_before_training(trainer_of, tmp_path):
    (tmp_path / "cv").write_text("a file")
    with pytest.raises(MinicharError, match=r"cannot write to '.*/cv': it is not a directory; choose"):
        trainer_of().run()
    assert (tmp_path / "cv").read_text() == "a file"


class TestBetweenEvaluations:
    """Tests for ``checkpoint_every``, which limits the progress lost when a process is killed."""

    def test_a_checkpoint_is_saved_when_the_time_has_passed_and_is_replaced(self, trainer_of, clock):
        trainer = trainer_of(checkpoint_every=5, eval_val_every=1000, max_epochs=1)
        at = []
        for event in trainer.run():
            if isinstance(event, Saved) and event.latest:
                assert event.path.name == "lm_lstm_latest.npz"
                assert parts(event.path)[0]["training"]["iteration"] == trainer.iteration
                assert not event.best
                at.append(trainer.iteration)
        assert at == [*range(6, trainer.iterations, 5)]  # the clock is read before each step
        assert len(at) > 3
        assert len(names(trainer)) == 1, "the last checkpoint replaces the one saved between evaluations"

    @pytest.mark.parametrize(("every", "evaluations"), [(5, 4), (0, 1000)])
    def test_it_is_not_saved_if_evaluations_are_more_frequent(self, trainer_of, clock, every, evaluations):
        trainer = trainer_of(checkpoint_every=every, eval_val_every=evaluations, max_epochs=1)
        assert not [event for event in trainer.run() if isinstance(event, Saved) and event.latest]

    def test_it_does_not_replace_another_run_s_checkpoint(self, trainer_of, clock, tmp_path):
        (tmp_path / "cv").mkdir()
        (tmp_path / "cv" / "lm_lstm_latest.npz").write_text("another run")
        trainer = trainer_of(checkpoint_every=5, max_epochs=1)
        paths = {event.path.name for event in trainer.run() if isinstance(event, Saved) and event.latest}
        assert paths == {"lm_lstm_latest-2.npz"}
        assert (tmp_path / "cv" / "lm_lstm_latest.npz").read_text() == "another run"

    def test_a_run_resumed_from_it_is_bitwise_identical_and_replaces_it(self, trainer_of, clock):
        options = {"dropout": 0.3, "start_ss": 0.5, "checkpoint_every": 7, "eval_val_every": 16}
        whole = trainer_of(**options)
        list(whole.run())
        weights, history = whole.model.parameters.flat.copy(), list(whole.history)
        for path in whole.saver.saved:
            path.unlink()

        killed = trainer_of(**options)
        latest = next(event.path for event in killed.run() if isinstance(event, Saved) and event.latest)
        resumed = resume(latest, {}).trainer
        assert (resumed.iteration, resumed.saver.latest) == (8, latest)
        list(resumed.run())
        np.testing.assert_array_equal(resumed.model.parameters.flat, weights)
        assert list(resumed.history) == history
        assert not latest.exists()

    def test_a_failed_run_does_not_replace_the_last_good_checkpoint(self, trainer_of, clock):
        trainer = trainer_of(checkpoint_every=5, eval_val_every=1000)
        events = trainer.run()
        path = next(event.path for event in events if isinstance(event, Saved))
        good = path.read_bytes()
        trainer.model.parameters.flat[...] = np.nan
        with pytest.raises(
            MinicharError, match=rf"training failed: .*last good checkpoint is \S*{path.name};"
        ):
            list(events)
        assert path.read_bytes() == good


@pytest.mark.skipif(files.fcntl is None, reason="requires POSIX file locks")
def test_two_runs_in_one_directory_are_told_of_each_other(trainer_of):
    first, second = trainer_of(eval_val_every=10).run(), trainer_of(savefile="second").run()
    assert isinstance(next(first), Step)
    warning = next(second)
    assert isinstance(warning, Warned)
    assert "another run is saving to" in warning.message
    told = [event for event in first if isinstance(event, Warned)]
    assert told == [warning]
    assert not any(isinstance(event, Warned) for event in second)


def test_the_size_of_a_checkpoint_is_reserved_before_training(trainer_of, monkeypatch):
    sizes = []
    monkeypatch.setattr(trainer_module, "check_directory", lambda directory, size: sizes.append(size))
    trainer = trainer_of(max_epochs=1)
    (trainer.settings.checkpoint_dir).mkdir()
    path = [event.path for event in trainer.run() if isinstance(event, Saved)][-1]
    assert sizes == [trainer.checkpoint_bytes]
    assert path.stat().st_size < sizes[0] < path.stat().st_size + trainer_module.HEADER_BYTES


class TestStaleLatest:
    """Tests for a process that is killed after saving a checkpoint but before deleting the obsolete one."""

    @pytest.fixture
    def killed(self, trainer_of):
        trainer = trainer_of(eval_val_every=10)
        for event in trainer.run():
            if trainer.iteration == 5 and isinstance(event, Step):
                latest = trainer.save_latest().path
                content = latest.read_bytes()
            if isinstance(event, Saved):
                break
        latest.write_bytes(content)
        return trainer, event.path, latest

    def test_it_is_deleted_by_the_resumed_run(self, killed):
        _, measured, latest = killed
        take(resume(measured, {}).trainer, 20)
        assert not latest.exists()

    @pytest.mark.parametrize("another", [False, True])
    def test_a_newer_one_or_that_of_another_run_is_not_deleted(self, killed, trainer_of, another):
        trainer, measured, latest = killed
        trainer = trainer_of(seed=5) if another else trainer
        trainer.checked(trainer.learn())
        latest.write_bytes(trainer.save_latest().path.read_bytes())
        take(resume(measured, {}).trainer, 20)
        assert latest.exists()
