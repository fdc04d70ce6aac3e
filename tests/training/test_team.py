"""Tests that several processes train the same model as one. Threads replace the processes (see `ranks`)."""

from dataclasses import replace
from itertools import count
from threading import Event, current_thread
from time import sleep

import numpy as np
import pytest
from ranks import on_ranks
from toys import TEXT, history_of, losses_of, toy_settings

import minichar.training.team as team_module
import minichar.training.trainer as trainer_module
from minichar.checkpoints.checkpoint import load_training
from minichar.checkpoints.choosing import Found, newest_in
from minichar.checkpoints.naming import loss_in_name
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError
from minichar.text.joining import Text
from minichar.training import saved as saved_runs
from minichar.training.evaluation import Measurement, evaluate
from minichar.training.events import Saved, Warned
from minichar.training.start import begin, resume
from minichar.training.team import ALONE

EVERYTHING = {
    "dtype": "float64",
    "batch_size": 5,
    "dropout": 0.3,
    "weight_drop": 0.2,
    "start_ss": 0.8,
    "min_ss": 0.5,
    "ema": 0.9,
    "clip_norm": 0.4,
    "weight_decay": 0.3,
    "layer_norm": True,
    "reset_on": " ",
    "epoch_reset": True,
    "learning_rate": 0.02,
}


@pytest.mark.parametrize("sizes", [{}, {"batch_size": 40, "seq_length": 24}])  # 2nd: B > n
def test_the_losses_are_those_of_one_process(tmp_path, sizes):
    settings = toy_settings(tmp_path, **EVERYTHING | sizes)
    alone = losses_of(begin(settings).trainer, 15)
    together = on_ranks(3, lambda team: losses_of(begin(settings, team=team).trainer, 15))
    assert abs(together[0] - alone).max() < 1e-9
    for other in together[1:]:
        np.testing.assert_array_equal(other, together[0])


@pytest.mark.parametrize(
    "losses", [(2.3, 2.7, 3.1), (1e-7, 0.25, 40.0), (2.0, np.nan, 1.0), (2.0, np.inf, 1.0)]
)
def test_the_loss_keeps_its_precision_beside_gradients_in_single_precision(losses):
    def average(team):
        gradient = np.full((2, 3), losses[team.rank], "float32")
        loss = np.array(losses[team.rank])
        team.average(1 / 3, CPU, gradient, loss)
        return gradient, loss

    for gradient, loss in on_ranks(3, average):
        np.testing.assert_allclose(gradient, np.full((2, 3), np.mean(losses)), rtol=1e-6)
        if np.isfinite(losses).all():
            np.testing.assert_allclose(loss, np.mean(losses), rtol=0, atol=1e-9)
        else:
            assert not np.isfinite(loss)


def test_evaluations_and_checkpoints_are_those_of_one_process(tmp_path):
    limited = {"max_val_chunks": 2, "train_frac": 0.8, "val_frac": 0.2, "max_epochs": 1}
    settings = toy_settings(tmp_path, **EVERYTHING | limited)
    elsewhere = replace(settings, checkpoint_dir=tmp_path / "alone")
    alone = begin(elsewhere).trainer
    list(alone.run())
    assert len(alone.val) == 2 < len(alone.split.val)
    together, *_ = on_ranks(3, lambda team: run_to_the_end(begin(settings, team=team)))
    assert [path.name for path in together.saver.saved] == [path.name for path in alone.saver.saved]
    for saved, expected in zip(together.saver.saved, alone.saver.saved, strict=True):
        assert history_of(saved)[-1] == pytest.approx(history_of(expected)[-1], rel=1e-9)
        (model, training), (_, other) = load_training(saved), load_training(expected)
        np.testing.assert_allclose(training.state, other.state, rtol=0, atol=1e-9)
        np.testing.assert_allclose(training.theta, other.theta, rtol=0, atol=1e-9)
        network = model.network(together.split.T, together.split.B)
        loss = evaluate(Measurement(network), together.split.val.part(0, 2)).loss
        assert loss == pytest.approx(history_of(saved)[-1]["val_loss"], rel=1e-9)


def run_to_the_end(run):
    list(run.trainer.run())
    return run.trainer


def stopped(settings, team):
    """Train for 8 steps, and return the losses and the path of a checkpoint."""
    trainer = begin(settings, team=team).trainer
    losses = losses_of(trainer, 8)
    trainer.begin_with(losses[0])
    return losses, trainer.save(None).path


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2)])
def test_a_run_can_be_resumed_by_any_number_of_processes(before, after, tmp_path):
    settings = toy_settings(tmp_path, **EVERYTHING)
    whole = losses_of(begin(settings).trainer, 15)
    _, path = on_ranks(before, lambda team: stopped(settings, team))[0]

    def resumed(team):
        return losses_of(resume(path, {}, team=team).trainer, 7)

    for rest in (on_ranks(after, resumed)[0], resumed(ALONE)):
        assert abs(rest - whole[8:]).max() < 1e-10


def test_with_the_same_number_of_processes_a_run_is_repeated_and_resumed_exactly(tmp_path):
    settings = toy_settings(tmp_path, **EVERYTHING | {"dtype": "float32"})

    def whole(team):
        return losses_of(begin(settings, team=team).trainer, 15)

    def interrupted(team):
        losses, path = stopped(settings, team)
        return np.append(losses, losses_of(resume(path, {}, team=team).trainer, 7))

    expected, *_ = on_ranks(3, whole)
    # Training amplifies the rounding errors of float32, which depend on the CPU, from step to step.
    assert abs(expected[:5] - losses_of(begin(settings).trainer, 5)).max() < 1e-4
    for again in (whole, interrupted):
        np.testing.assert_array_equal(on_ranks(3, again)[0], expected, err_msg=again.__name__)


def test_a_signal_to_one_rank_stops_all_after_the_same_step(tmp_path, monkeypatch):
    monkeypatch.setattr("minichar.training.timetable.QUICK", 600.0)
    settings = toy_settings(tmp_path)

    def stopped(team):
        trainer = begin(settings, team=team).trainer
        for _ in trainer.run():
            if team.rank == 1 and trainer.iteration == 5:
                trainer.stop()
        return trainer.iteration, [loss_in_name(path) < 4 for path in trainer.saver.saved]

    assert on_ranks(3, stopped) == [(5, [True]), (5, []), (5, [])]


def test_a_signal_while_the_ranks_synchronise_is_not_lost(tmp_path):
    settings = toy_settings(tmp_path)

    def stopped(team):
        trainer = begin(settings, team=team).trainer
        largest = team.largest

        def interrupted(*values):
            if trainer.iteration == 5:
                trainer.stop()
            return largest(*values)

        team.largest = interrupted
        list(trainer.run())
        return trainer.iteration

    assert on_ranks(2, stopped) == [6, 6]


def test_all_ranks_shorten_an_evaluation_in_the_same_way(tmp_path):
    """On the slowest rank, each step and each evaluated chunk takes 5 seconds."""
    settings = toy_settings(tmp_path, max_time=1.0, max_epochs=3, train_frac=0.8, val_frac=0.2)

    def stopped(team):
        trainer, seconds = begin(settings, team=team).trainer, count(0, 5 if team.rank == 2 else 0)
        trainer.timetable.elapsed = lambda: next(seconds)
        *_, evaluated, _, _ = trainer.run()
        return trainer.iteration, evaluated.shortened

    first, *others = on_ranks(3, stopped)
    assert others == [first, first]
    assert first[0] == 9, "a quarter of the time limit is reserved for the evaluation"
    assert first[1].characters == 3 * 24


def test_only_rank_0_uses_the_checkpoint_directory(tmp_path, monkeypatch):
    settings = toy_settings(tmp_path, max_epochs=1)
    monkeypatch.setattr(trainer_module, "check_directory", lambda *_: (tmp_path / "cv").mkdir())
    events = on_ranks(3, lambda team: list(begin(settings, team=team).trainer.run()))
    assert not [event for rank in events for event in rank if isinstance(event, Warned)]


def test_an_error_on_rank_0_is_raised_on_all(tmp_path):
    settings = toy_settings(tmp_path)
    (tmp_path / "cv").write_text("a file")

    def fails(team):
        with pytest.raises(MinicharError, match="it is not a directory"):
            begin(settings, team=team).trainer.run()
        with pytest.raises(MinicharError, match=r"missing\.txt' does not exist"):
            begin(replace(settings, data=settings.data if team.rank else "missing.txt"), team=team)
        return True

    assert on_ranks(2, fails) == [True, True]


def test_ranks_sleep_while_rank_0_works(monkeypatch):
    slept, both = set(), Event()

    def nap(seconds):
        slept.add(current_thread())
        if len(slept) == 2:
            both.set()
        sleep(seconds)

    monkeypatch.setattr(team_module, "sleep", nap)

    def wait(team):
        assert team.lead(lambda: both.wait(60))
        return current_thread() in slept

    assert on_ranks(3, wait)[1:] == [True, True]


def test_rank_0_reads_the_text_first_and_the_others_use_its_cache(tmp_path, text_cache, monkeypatch):
    settings, encoded, encode = toy_settings(tmp_path), [], Text.encode

    def slow(text, *arguments):
        encoded.append(current_thread())
        sleep(0.1)
        return encode(text, *arguments)

    monkeypatch.setattr(Text, "encode", slow)
    found = on_ranks(3, lambda team: (begin(settings, team=team).corpus.ids.tolist(), current_thread()))
    assert encoded == [found[0][1]]
    assert found[0][0] == found[1][0] == found[2][0]


def test_all_ranks_must_read_the_same_text(tmp_path):
    (tmp_path / "other").mkdir()

    def start(team):
        return begin(toy_settings(tmp_path, TEXT) if team.rank == 0 else other, team=team)

    other = toy_settings(tmp_path / "other", TEXT[::-1])
    with pytest.raises(MinicharError, match=r"the processes read different texts from .*input\.txt"):
        on_ranks(2, start)


def test_all_ranks_resume_the_checkpoint_that_rank_0_finds(tmp_path, monkeypatch):
    """A network file system may list a new file on one machine before it does on the others."""
    run = begin(toy_settings(tmp_path, keep=0, max_epochs=2, eval_val_every=10))
    old, *_, new = [event.path for event in run.trainer.run() if isinstance(event, Saved)]
    monkeypatch.setattr(
        saved_runs, "newest_in", lambda path: [Found(old)] if current_thread() in late else newest_in(path)
    )
    late = set()

    def resumed(team):
        if team.rank == 1:
            late.add(current_thread())
        return resume(tmp_path / "cv", {"max_epochs": 3}, team=team).trainer.iteration

    expected = load_training(new)[1].progress.iteration
    assert on_ranks(2, resumed) == [expected, expected]


def test_more_processes_than_streams(tmp_path):
    settings = toy_settings(tmp_path, batch_size=2)
    with pytest.raises(
        MinicharError, match="3 processes cannot share 2 streams: start at most 2, or begin a"
    ):
        on_ranks(3, lambda team: begin(settings, team=team))


@pytest.mark.parametrize(("B", "size"), [(50, 3), (7, 7), (10, 4)])
def test_the_streams_are_divided_evenly(B, size):
    shares = on_ranks(size, lambda team: range(B)[team.streams(B)])
    assert [b for share in shares for b in share] == list(range(B))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
