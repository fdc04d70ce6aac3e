"""Tests for plans: options that suit the time limit and the speed of the machine."""

from dataclasses import replace
from math import inf

import pytest
from toys import TEXT, take, toy_settings

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.text import batches
from minichar.training import plan as planning
from minichar.training import text
from minichar.training.cost import NOMINAL, Speed
from minichar.training.start import begin, resume
from minichar.training.team import Team
from minichar.training.text import read_corpus

LONG = TEXT * 40
SLOWER = Speed(400.0, 400.0)


@pytest.fixture
def machine(monkeypatch):
    """Replace the clock and the speed of the machine; return them with the sizes that were measured."""

    class Machine:
        now, speed, sizes, takes = 1000.0, SLOWER, [], 0.0

    def time_step(device, config, vocabulary, settings, chunks):
        Machine.sizes.append((config.rnn_size, len(chunks.streams)))
        Machine.now += Machine.takes
        return Machine.speed.step(config, len(chunks.streams), chunks.T)

    Machine.sizes = []
    monkeypatch.setattr(planning, "time_step", time_step)
    monkeypatch.setattr(planning, "monotonic", lambda: Machine.now)
    return Machine


def settings_for(tmp_path, **options):
    automatic = {"rnn_size": None, "max_epochs": None, "embedding": None, "recipe": "quick", "use_ss": False}
    return toy_settings(tmp_path, LONG, **automatic | {"max_time": 10.0} | options)


def seconds(run, speed):
    """Return the time of all steps of a run at a speed."""
    trainer = run.trainer
    return trainer.iterations * speed.step(trainer.model.config, trainer.split.B, trainer.split.T)


@pytest.mark.parametrize(("speed", "minutes"), [(Speed(1000.0, 200.0), 5.0), (Speed(200.0, 1000.0), 50.0)])
def test_the_steps_fit_into_the_time(machine, tmp_path, speed, minutes):
    machine.speed = speed
    run = begin(settings_for(tmp_path, max_time=minutes), started=1000.0)
    assert seconds(run, speed) == pytest.approx(0.8 * 60 * minutes, rel=0.01)
    assert [size for size, _ in machine.sizes] == [64, 256]
    assert run.chosen == ("rnn_size", "embedding", "max_epochs")


def test_a_plan_can_be_extended_to_the_useful_epochs(machine, tmp_path):
    planned = begin(settings_for(tmp_path, max_time=1.0)).trainer
    useful = begin(settings_for(tmp_path, max_time=1e6, rnn_size=planned.settings.rnn_size)).trainer
    most = planned.timetable.most_epochs
    assert planned.settings.max_epochs < most == useful.settings.max_epochs == useful.timetable.most_epochs
    assert begin(settings_for(tmp_path, max_epochs=2.0)).trainer.timetable.most_epochs == 2.0


@pytest.mark.parametrize("options", [{}, {"rnn_size": 8}, {"reset_on": "\n"}, {"max_time": 0.0}])
def test_the_text_is_laid_out_once_and_the_options_are_chosen_at_most_twice(
    machine, tmp_path, monkeypatch, options
):
    laid_out, chosen = [], []

    def count(calls, module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: calls.append(name) or function(*args))

    count(laid_out, text, "split_text")
    count(laid_out, batches, "_lay_out")
    count(laid_out, text, "find_resets")
    count(chosen, planning, "choose")
    run = begin(settings_for(tmp_path, **options), started=1000.0)
    assert sorted(laid_out) == ["_lay_out", "find_resets", "split_text"]
    assert len(chosen) <= 2
    take(run.trainer, 3)
    laid_out.clear()
    chosen.clear()
    resume(run.trainer.saver.last, {"max_time": 5.0}, started=1000.0)
    assert sorted(laid_out) == ["_lay_out", "find_resets", "split_text"]
    assert chosen == []


def test_time_before_the_measurement_counts(machine, tmp_path):
    machine.now += 300.0
    run = begin(settings_for(tmp_path), started=1000.0)
    assert seconds(run, SLOWER) == pytest.approx(0.8 * 300, rel=0.01)
    machine.now += 10_000
    assert begin(settings_for(tmp_path), started=1000.0).trainer.iterations >= 1


def test_a_slow_measurement_is_the_only_one(machine, tmp_path):
    """Without it, 80% of 100 seconds are left for training. A tenth of them is the limit."""
    for takes, sizes in ((7.9, [64, 256]), (8.1, [64])):
        machine.sizes, machine.takes = [], takes
        begin(settings_for(tmp_path, max_time=100 / 60), started=machine.now)
        assert [size for size, _ in machine.sizes] == sizes


def test_without_a_time_limit_nothing_is_measured(machine, tmp_path):
    run = begin(settings_for(tmp_path, max_time=0.0))
    assert machine.sizes == []
    assert seconds(run, NOMINAL) == pytest.approx(180, rel=0.01)


def test_options_given_explicitly_win(machine, tmp_path):
    given = {"rnn_size": 40, "embedding": 0, "tied": False, "dropout": 0.125, "learning_rate": 0.5}
    run = begin(settings_for(tmp_path, **given), started=1000.0)
    assert {name: getattr(run.trainer.settings, name) for name in given} == given
    assert [size for size, _ in machine.sizes] == [40], "only this size is measured"
    assert seconds(run, SLOWER) == pytest.approx(480, rel=0.01)
    machine.sizes.clear()
    run = begin(settings_for(tmp_path, rnn_size=8, max_epochs=3.0), started=1000.0)
    assert (machine.sizes, run.trainer.settings.max_epochs) == ([], 3.0)


def test_the_values_of_a_plan_repeat_the_run_without_measuring(machine, tmp_path):
    run = begin(settings_for(tmp_path), started=1000.0)
    machine.speed = Speed(1.0, 1.0)
    machine.sizes.clear()
    again = begin(replace(run.trainer.settings, max_time=0.0))
    assert replace(again.trainer.settings, max_time=10.0) == run.trainer.settings
    assert machine.sizes == []


def test_rank_0_plans_for_all_processes(machine, tmp_path):
    """Each of two processes trains on half of the streams, so that twice as many steps fit."""
    led = []

    class Two(Team):
        size = 2

        def lead(self, action):
            led.append(action)
            return action()

    settings = settings_for(tmp_path, rnn_size=8, batch_size=6, seq_length=6)
    alone, both = (
        planning.plan(settings, read_corpus(settings), [CPU], team, 1000.0).settings
        for team in (Team(), Two())
    )
    assert [B for _, B in machine.sizes] == [6, 3]
    halves = [SLOWER.step(Config(21, rnn_size=8, num_layers=2), B, 6) for B in (6, 3)]
    assert both.max_epochs / alone.max_epochs == pytest.approx(halves[0] / halves[1], rel=0.02)
    assert len(led) == 1


def test_fine_tuning_keeps_the_architecture(machine, tmp_path):
    model = begin(toy_settings(tmp_path, LONG, rnn_size=12)).trainer.model
    run = begin(settings_for(tmp_path), model=model, started=1000.0)
    assert run.trainer.settings.rnn_size == 12
    assert [size for size, _ in machine.sizes] == [12]
    assert seconds(run, SLOWER) == pytest.approx(480, rel=0.01)


def test_a_new_time_limit_plans_the_remaining_steps(machine, tmp_path):
    run = begin(settings_for(tmp_path, rnn_size=8), started=1000.0)
    take(run.trainer, 7)
    path, kept = run.trainer.saver.last, run.trainer.settings
    step = NOMINAL.step(run.trainer.model.config, run.trainer.split.B, run.trainer.split.T)
    machine.speed = Speed(12 / step, 12 / step)  # a step takes 12 s
    later = resume(path, {"max_time": 5.0}, started=1000.0)
    trainer = later.trainer
    assert trainer.iterations - 7 == 20
    assert later.changes == {"max_time": 5.0, "max_epochs": trainer.settings.max_epochs}
    assert str(trainer.settings.max_epochs) == f"{trainer.settings.max_epochs:.6f}".rstrip("0")
    assert later.chosen == ("max_epochs",)
    unchanged = replace(trainer.settings, max_time=10.0, max_epochs=kept.max_epochs)
    assert unchanged == replace(kept, checkpoint_dir=unchanged.checkpoint_dir)


def test_with_a_new_time_limit_a_run_uses_all_of_the_time(machine, tmp_path):
    """Even if it makes more epochs than would be planned for a new run."""
    trainer = begin(settings_for(tmp_path, rnn_size=8, max_time=1e6)).trainer
    useful = trainer.settings.max_epochs
    take(trainer, 7)
    machine.speed = Speed(1.0, 1.0)
    later = resume(trainer.saver.last, {"max_time": 60.0}, started=1000.0)
    assert later.trainer.settings.max_epochs > useful + trainer.epoch
    assert seconds(later, machine.speed) == pytest.approx(0.8 * 3600, rel=0.01)
    assert later.trainer.timetable.most_epochs == inf


@pytest.mark.parametrize("changes", [{}, {"max_time": 0.0}, {"max_time": 5.0, "max_epochs": 1e4}])
def test_otherwise_a_resumed_run_keeps_its_plan(machine, tmp_path, changes):
    run = begin(settings_for(tmp_path, rnn_size=8), started=1000.0)
    take(run.trainer, 7)
    machine.sizes.clear()
    later = resume(run.trainer.saver.last, changes, started=1000.0)
    assert machine.sizes == []
    assert later.trainer.settings.max_epochs == changes.get("max_epochs", run.trainer.settings.max_epochs)
