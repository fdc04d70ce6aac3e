import json
from contextlib import ExitStack

import pytest

from minichar.checkpoints.naming import loss_in_name, newest_first
from minichar.errors import MinicharError
from minichar.files import locking
from minichar.sweep.study import STARTUP, open_storage, open_study, results
from minichar.sweep.trials import Began, Ended
from minichar.training.events import Evaluated, Saved, Step
from minichar.training.recipes import settings_from
from minichar.training.start import begin


def states(sweep):
    return [trial.state.name for trial in sweep.study.get_trials()]


def interrupt(sweep, event, count=1):
    """Run a sweep until an event has occurred `count` times, and stop as if the process had been killed."""
    events = sweep.run(10)
    for found in events:
        count -= isinstance(found, event)
        if not count:
            break
    events.close()


def test_trials_are_training_runs(sweep, tmp_path):
    one = sweep()
    ended = [event for event in one.run(3) if isinstance(event, Ended)]
    assert [each.state for each in ended] == ["complete"] * 3
    assert states(one) == ["COMPLETE"] * 3
    best = results(one.study)[0]
    assert best.loss == min(each.loss for each in ended)
    options = one.plan.given | best.values | {"checkpoint_dir": tmp_path / "again"}
    run = begin(settings_from(options))
    losses = [event.val.loss for event in run.trainer.run() if isinstance(event, Evaluated)]
    assert min(losses) == best.loss
    assert loss_in_name(newest_first(one.directory(best.number))[0]) == pytest.approx(losses[-1], abs=1e-4)


def test_a_sweep_is_reproducible_and_continues(sweep):
    for _ in sweep().run(2):
        pass
    (parted := sweep()).stop()
    assert not [*parted.run(4)]
    parted.stopping = False
    assert [e.number for e in parted.run(4) if isinstance(e, Ended)] == [2, 3]
    for _ in (whole := sweep(folder="whole")).run(4):
        pass
    assert results(whole.study) == results(parted.study)


@pytest.mark.parametrize(("event", "epoch"), [(Began, 0), (Evaluated, 0), (Saved, 1)])
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
    one = sweep()
    one.study.ask()
    ended = [event for event in sweep().run(1) if isinstance(event, Ended)]
    assert [(each.number, each.state) for each in ended] == [(0, "complete")]


def test_a_trial_killed_after_its_last_checkpoint_is_completed_without_training(sweep):
    interrupt(one := sweep(), Saved, 2)
    events = [*sweep().run(1)]
    assert [type(event) for event in events] == [Ended]
    assert events[0].loss == min(one.study.trials[0].intermediate_values.values())


def test_a_trial_belongs_to_one_process(sweep):
    one, other = sweep().run(2), sweep().run(2)
    assert [next(one).number, next(other).number] == [0, 1]
    first, second = (trial.params["learning_rate"] for trial in sweep().study.trials)
    assert first != second
    assert not [*sweep().run(2)], "both trials are already running"
    assert [e.number for e in other if isinstance(e, Ended)] == [1], "trial 0 still belongs to its process"
    assert [e.number for e in one if isinstance(e, Ended)] == [0]


def test_stop_saves_a_checkpoint_and_leaves_the_trial_to_the_next_process(sweep):
    one = sweep()
    events = []
    for event in one.run(1):
        events.append(event)
        if isinstance(event, Step) and event.iteration == 5:
            one.stop()
    assert events[-1].state == "unfinished"
    assert states(one) == ["RUNNING"]
    events = sweep().run(1)
    assert next(events).run.trainer.iteration == 5
    assert [*events][-1].state == "complete"


def test_the_time_limit_stops_the_sweep(sweep):
    *_, ended = sweep().run(9, minutes=1e-9)
    assert (ended.number, ended.state) == (0, "unfinished")


def test_a_trial_above_the_median_at_the_same_point_of_the_run_is_pruned(sweep):
    one = sweep("learning_rate=1e-9,0.05,0.06")
    for number in range(STARTUP + 1):
        one.study.enqueue_trial({"learning_rate": 1e-9 if number in (0, STARTUP) else 0.05})
    events = one.run(STARTUP + 2)
    ended = [event for event in events if isinstance(event, Ended) and event.number <= STARTUP]
    assert [each.state for each in ended] == ["complete"] * STARTUP + ["pruned"]
    *_, pruned, _ = one.study.trials
    assert [*pruned.intermediate_values] == [50], "the loss is reported at 50% of the run"


def test_a_failed_trial_is_reported_and_the_sweep_goes_on(sweep):
    one = sweep("learning_rate=1e6,1e7", grad_clip=0.0)
    ended = [event for event in one.run(2) if isinstance(event, Ended)]
    assert [each.state for each in ended] == ["failed"] * 2
    assert "training failed" in ended[0].error
    assert all("training failed" in trial.user_attrs["error"] for trial in one.study.trials)
    assert states(one) == ["FAIL"] * 2
    assert results(one.study) == []


def test_an_error_of_the_system_ends_the_sweep_and_not_the_trial(sweep, monkeypatch):
    def write(*arguments):
        raise MinicharError("cannot write") from OSError(28, "No space left on device")

    one = sweep()
    with monkeypatch.context() as patch:
        patch.setattr("minichar.training.trainer.checkpoint.save", write)
        with pytest.raises(MinicharError, match="cannot write"):
            [*one.run(3)]
    assert states(one) == ["RUNNING"]


@pytest.mark.parametrize(
    ("search", "given", "message"),
    [
        ("rnn_size=0,8", {}, "rnn_size is 0"),
        ("rnn_size=4,8", {"val_frac": 0.0}, "val_frac must be above 0"),
        ("rnn_size=4,8", {"data": "absent.txt"}, "absent.txt"),
    ],
)
def test_errors_are_found_before_anything_is_written(sweep, tmp_path, search, given, message):
    with pytest.raises(MinicharError, match=message):
        sweep(search, **given)
    assert not (tmp_path / "sweep").exists()


def test_a_fixed_option_may_need_the_value_of_a_searched_one(sweep):
    assert sweep("use_ss=true,true", min_ss=0.5).plan.given["min_ss"] == 0.5


@pytest.mark.parametrize("when", ["new", "existing"])
def test_the_database_is_opened_while_the_directory_is_locked(sweep, tmp_path, monkeypatch, when):
    """Otherwise, processes that start together create the tables at the same time, and SQLite fails."""
    locked = []

    def opened(*arguments):
        with locking(tmp_path / "sweep" / "sweep.lock", wait=False) as free:
            locked.append(not free)
        return open_storage(*arguments)

    if when == "existing":
        sweep()
    monkeypatch.setattr("minichar.sweep.study.open_storage", opened)
    sweep()
    assert locked == [True]


def test_the_password_of_a_database_is_not_stored(sweep, tmp_path, monkeypatch):
    def opened(optuna, url):
        assert "secret" in url.render_as_string(hide_password=False)
        return open_storage(optuna, make_url("sqlite:///elsewhere.db"))

    make_url = pytest.importorskip("sqlalchemy.engine").make_url
    monkeypatch.setattr("minichar.sweep.study.open_storage", opened)
    for url in ("//me:secret@host/name", "//me@host/name?password=secret"):  # create the sweep, then join it
        assert sweep(storage=f"postgresql:{url}").plan.database == "postgresql://me@host/name"
    assert "secret" not in (tmp_path / "sweep" / "sweep.json").read_text()


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


def test_a_directory_belongs_to_one_sweep(sweep, tmp_path):
    sweep()
    for search, given in (("rnn_size=4,8", {}), ("rnn_size=4,16", {"seed": 1})):
        with pytest.raises(MinicharError, match="is a sweep with different options"):
            sweep(search, **given)
    with pytest.raises(MinicharError, match="stored in the directory: use the same --storage"):
        open_study(tmp_path / "sweep", storage="sqlite:///other.db")
    (tmp_path / "sweep" / "sweep.db").unlink()
    with pytest.raises(MinicharError, match="cannot use the sweep's database"):
        sweep()
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    with pytest.raises(MinicharError, match="cannot read the plan"):
        sweep()
    (tmp_path / "sweep" / "sweep.json").unlink()
    (tmp_path / "sweep" / "trial-0000").mkdir()
    with pytest.raises(MinicharError, match="contains trials of another sweep"):
        sweep()


def test_names_with_special_characters(sweep, tmp_path):
    name = "a ?#%20{x} 山"
    assert len([*sweep(folder=name).run(1)]) > 1
    assert (tmp_path / name / "sweep.db").is_file()
    assert json.loads((tmp_path / name / "sweep.json").read_text(encoding="utf-8"))["database"] == ""
