import os
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from minichar.checkpoints.choosing import newest_in
from minichar.checkpoints.naming import loss_in_name
from minichar.devices.cpu import CPU
from minichar.errors import MinicharError
from minichar.sweep.study import STARTUP, results
from minichar.sweep.trials import Began, Ended, Sweep
from minichar.training.events import EndedEarly, Evaluated, Saved, Step
from minichar.training.recipes import settings_from
from minichar.training.start import begin


def states(sweep):
    return [trial.state.name for trial in sweep.study.get_trials()]


def ended_in(events):
    """Return the results of the trials of a sweep."""
    return [event for event in events if isinstance(event, Ended)]


def interrupt(sweep, event):
    """Run a sweep until an event has occurred, and stop as if the process had been killed."""
    events = sweep.run(10)
    next(found for found in events if isinstance(found, event))
    events.close()


def test_trials_are_training_runs(sweep, tmp_path):
    one = sweep()
    ended = ended_in(one.run(3))
    assert [each.state for each in ended] == ["complete"] * 3
    assert states(one) == ["COMPLETE"] * 3
    best = results(one.study)[0]
    assert best.loss == min(each.loss for each in ended)
    options = one.plan.given | best.values | {"checkpoint_dir": tmp_path / "again"}
    run = begin(settings_from(options))
    losses = [event.val.loss for event in run.trainer.run() if isinstance(event, Evaluated)]
    assert min(losses) == best.loss
    assert loss_in_name(newest_in(one.directory(best.number))[0].path) == pytest.approx(losses[-1], abs=1e-4)


def test_a_sweep_is_reproducible_and_continues(sweep):
    for _ in sweep().run(1):
        pass
    (parted := sweep()).stop()
    assert not [*parted.run(3)]
    parted.stopping = False
    assert [each.number for each in ended_in(parted.run(3))] == [1, 2]
    for _ in (whole := sweep(folder="whole")).run(3):
        pass
    assert results(whole.study) == results(parted.study)


@pytest.mark.parametrize(("event", "epoch"), [(Evaluated, 0), (Saved, 1)])
def test_the_trial_of_a_killed_process_is_continued_from_its_checkpoint(sweep, event, epoch):
    interrupt(sweep(), event)
    other = sweep()
    assert states(other) == ["RUNNING"]
    events = other.run(1)
    began = next(events)
    assert (began.number, began.run.trainer.epoch) == (0, epoch)
    *_, ended = events
    assert (ended.number, ended.state) == (0, "complete")
    for _ in (whole := sweep(folder="whole")).run(1):
        pass
    assert results(whole.study) == results(other.study)


def test_a_trial_killed_before_it_has_a_directory_or_values_is_run(sweep):
    sweep().study.ask()
    assert [(each.number, each.state) for each in ended_in(sweep().run(1))] == [(0, "complete")]


def test_a_trial_killed_after_it_ended_early_is_completed_without_training(sweep):
    arguments = {"rnn_size": 8, "warmup": 0.0, "ema": 0.0, "patience": 1, "max_epochs": 100.0}
    interrupt(one := sweep("learning_rate=0.2,0.2", **arguments), EndedEarly)
    for second, file in enumerate(newest_in(one.directory(0))):  # as if the directory had been copied
        os.utime(file.path, (second, second))
    events = [*sweep("learning_rate=0.2,0.2", **arguments).run(1)]
    assert [(type(event), event.state) for event in events] == [(Ended, "complete")]
    assert events[0].loss == min(one.study.trials[0].intermediate_values.values())


def test_each_combination_of_choices_is_tried_once(sweep):
    """The second process takes over after the first was killed between choosing and starting a trial."""
    choices = "rnn_size=4,8,4", "learning_rate=0.01,0.02,0.020"
    for _ in (one := sweep(*choices)).run(1):
        pass
    one.study.enqueue_trial({"rnn_size": 4, "learning_rate": 0.02})
    assert [each.number for each in ended_in(sweep(*choices).run(20))] == [1, 2, 3]
    tried = [(trial.params["rnn_size"], trial.params["learning_rate"]) for trial in one.study.trials]
    assert tried == [(4, 0.01), (4, 0.02), (8, 0.01), (8, 0.02)]


def test_a_trial_belongs_to_one_process(sweep):
    one, other = sweep().run(2), sweep().run(2)
    assert [next(one).number, next(other).number] == [0, 1]
    first, second = (trial.params["learning_rate"] for trial in sweep().study.trials)
    assert first != second
    assert not [*sweep().run(2)], "both trials are already running"
    assert [each.number for each in ended_in(other)] == [1], "trial 0 still belongs to its process"
    assert [each.number for each in ended_in(one)] == [0]


def test_stop_saves_a_checkpoint_and_leaves_the_trial_to_the_next_process(sweep):
    one = sweep()
    for event in one.run(1):
        if isinstance(event, Step) and event.iteration == 5:
            one.stop()
    assert event.state == "unfinished"
    assert states(one) == ["RUNNING"]
    events = sweep().run(1)
    assert next(events).run.trainer.iteration == 5
    assert [*events][-1].state == "complete"


def test_a_trial_stopped_before_its_trainer_exists_is_left_to_the_next_process(sweep, monkeypatch):
    def begin_late(*arguments):
        one.stop()
        return begin(*arguments)

    one = sweep()
    monkeypatch.setattr("minichar.sweep.trials.begin", begin_late)
    began, ended = one.run(2)
    assert (began.run.trainer.iteration, ended.state) == (0, "unfinished")


def test_the_time_limit_in_minutes_stops_the_sweep(sweep, monkeypatch):
    clock = count()
    monkeypatch.setattr("minichar.sweep.trials.monotonic", lambda: float(next(clock)))
    *events, ended = sweep().run(9, minutes=0.125)  # a second per event
    assert [type(event) for event in events] == [Began, *[Step] * 7, Saved, Saved]
    assert (ended.number, ended.state) == (0, "unfinished")


def test_a_trial_that_ends_early_is_complete_and_its_loss_is_the_lowest(sweep):
    one = sweep("learning_rate=0.2,0.2", rnn_size=8, warmup=0.0, ema=0.0, patience=1, max_epochs=100.0)
    events = [*one.run(1)]
    losses = [event.val.loss for event in events if isinstance(event, Evaluated)]
    *_, early, ended = events
    assert isinstance(early, EndedEarly)
    assert ended.state == "complete"
    assert ended.loss == results(one.study)[0].loss == min(losses) < losses[-1]


@pytest.mark.parametrize(
    ("eval_val_every", "percentages", "state"),
    [
        (3, [9, 18], "pruned"),  # not in the first 10% of the run
        (1000, [100], "complete"),  # not after the last step
    ],
)
def test_a_trial_above_the_median_at_the_same_point_of_the_run_is_pruned(
    sweep, eval_val_every, percentages, state
):
    rates = [1e-9, *(0.05 + 1e-4 * k for k in range(STARTUP - 1)), 2e-9]
    options = {"rnn_size": 16, "eval_val_every": eval_val_every, "max_epochs": 1.0}
    one = sweep(f"learning_rate={','.join(map(str, rates))}", **options)
    assert [each.state for each in ended_in(one.run(STARTUP + 1))] == ["complete"] * STARTUP + [state]
    assert [*one.study.trials[STARTUP].intermediate_values] == percentages


def test_a_failed_trial_is_reported_and_the_sweep_goes_on(sweep):
    one = sweep("learning_rate=1e6,1e7", grad_clip=0.0)
    first, second = ended_in(one.run(2))
    assert first.state == second.state == "failed"
    assert "training failed" in first.error
    assert all("training failed" in trial.user_attrs["error"] for trial in one.study.trials)
    assert states(one) == ["FAIL"] * 2
    assert results(one.study) == []


def test_a_trial_that_needs_too_much_memory_has_failed(sweep, monkeypatch):
    def begin_or_fail(settings, *devices):
        raise MemoryError("Unable to allocate 9 TiB")

    one = sweep()
    monkeypatch.setattr("minichar.sweep.trials.begin", begin_or_fail)
    (ended,) = one.run(1)
    assert (ended.state, ended.error) == ("failed", "out of memory (Unable to allocate 9 TiB)")
    assert states(one) == ["FAIL"]


def test_a_database_error_during_the_sweep_is_reported(sweep, tmp_path):
    one = sweep()
    (tmp_path / "sweep" / "sweep.db").write_bytes(bytes(100_000))
    for use in (lambda: [*one.run(1)], lambda: results(one.study)):
        with pytest.raises(MinicharError, match="cannot use the sweep's database: "):
            use()


def test_an_error_of_the_system_ends_the_sweep_and_not_the_trial(sweep, monkeypatch):
    def write(*arguments):
        raise MinicharError("cannot write") from OSError(28, "No space left on device")

    one = sweep()
    with monkeypatch.context() as patch:
        patch.setattr("minichar.training.trainer.checkpoint.save", write)
        with pytest.raises(MinicharError, match="cannot write"):
            [*one.run(3)]
    assert states(one) == ["RUNNING"]


def test_a_trial_that_was_completed_a_moment_ago_is_not_taken(sweep):
    """Another process may complete a trial after this one has listed it as running."""
    first, second = sweep(), sweep()
    with ExitStack() as locks:
        trial = first.take(2, locks)
    listed, running = [second.running()], second.running
    first.study.tell(trial, 1.0)
    second.running = lambda: listed.pop() if listed else running()
    with ExitStack() as locks:
        assert second.take(2, locks).number == 1


def test_a_sweep_continues_from_another_directory(sweep, tmp_path, monkeypatch):
    interrupt(one := sweep(), Saved)
    assert one.plan.given["data"] == [str(tmp_path / "input.txt")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    ended = ended_in(Sweep(Path("..", "sweep"), None, [CPU]).run(2))
    assert [(each.number, each.state) for each in ended] == [(0, "complete"), (1, "complete")]
    assert states(one) == ["COMPLETE"] * 2
