"""Tests for noticing slow training steps, and for the number of threads that a slow run then uses."""

import pytest
from toys import take, toy_settings

from minichar.checkpoints.checkpoint import load_training
from minichar.devices.cpu import CPU
from minichar.training.events import Warned
from minichar.training.pace import LONGEST, PERIOD, Pace
from minichar.training.start import begin
from minichar.training.team import Team


def slow_steps(*seconds):
    pace = Pace()
    return [i for i, duration in enumerate(seconds) if pace.is_slow(duration)]


def test_a_period_is_slow_if_its_steps_take_more_than_twice_as_long_as_the_fastest():
    first = [1.25] * 4  # slow because there is nothing to compare it with; the next periods take 10 seconds
    assert PERIOD == 5
    assert slow_steps(*first) == [3]
    assert slow_steps(*first, *[2.5] * 4, 10.0) == [3, 8], "not at twice the time"
    assert slow_steps(*first, *[1.25] * 7, 2.6, *[2.6] * 4) == [3, 15], "one slow step is not enough"
    assert slow_steps(5.0, *[1.25] * 8, 10.0) == [0, 9], "the fastest period counts, not the first"


def test_slow_periods_become_longer_up_to_a_minute():
    pace, ends = Pace(), []
    for n in range(1, 200):
        if pace.is_slow(PERIOD * 3**n):
            ends.append(pace.period)
    assert ends[:4] == [2 * PERIOD, 4 * PERIOD, 8 * PERIOD, LONGEST]
    assert set(ends[3:]) == {LONGEST}


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    """A run that finds one thread clearly faster in slow steps. ``trainer.measured`` contains the sizes."""
    monkeypatch.setattr(CPU, "threads", 0)
    trainer = begin(toy_settings(tmp_path, rnn_size=9, num_layers=2)).trainer
    trainer.measured = []

    def fit(*sizes):
        trainer.measured.append(sizes)
        CPU.threads = 1

    monkeypatch.setattr(CPU, "fit_threads", fit)
    monkeypatch.setattr(trainer.pace, "is_slow", lambda seconds: trainer.iteration >= 3)
    return trainer


def test_a_slow_run_continues_with_the_number_of_threads_that_is_faster(trainer):
    warnings = [event.message for event in take(trainer, 6) if isinstance(event, Warned)]
    assert warnings == ["other programs use the cores: continuing with 1 thread"]
    assert trainer.measured == [(*trainer.model.parameters["layer2.W"].shape, trainer.split.B)]
    assert load_training(trainer.saver.last)[1].progress.threads == 1


def test_a_slow_run_keeps_its_threads_if_fewer_are_not_faster(trainer, monkeypatch):
    measured = []
    monkeypatch.setattr(CPU, "fit_threads", lambda *sizes: measured.append(trainer.iteration))
    assert not [event for event in take(trainer, 5) if isinstance(event, Warned)]
    assert measured == [3, 4, 5]


def test_a_process_among_several_keeps_its_single_thread(trainer):
    class Two(Team):
        size = 2

    trainer.team = Two()
    take(trainer, 5)
    assert trainer.measured == []


def test_the_time_of_a_step_excludes_evaluations_and_the_caller(trainer, monkeypatch):
    now, counted, learn = [0.0], [], trainer.learn
    monkeypatch.setattr("minichar.training.trainer.monotonic", lambda: now[0])

    def seven_seconds():
        now[0] += 7
        return learn()

    monkeypatch.setattr(trainer, "learn", seven_seconds)
    monkeypatch.setattr(trainer.pace, "is_slow", counted.append)
    for _ in trainer.run():
        now[0] += 100
        if trainer.iteration == 4:
            trainer.stop()
    assert counted == [7.0] * 4
