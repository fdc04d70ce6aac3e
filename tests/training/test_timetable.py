"""Tests for the schedule of a run: evaluations, patience and the time limit, which is never exceeded."""

from math import inf

import numpy as np
import pytest
from toys import history_of

from minichar.checkpoints.checkpoint import load, load_training, save
from minichar.training.evaluation import Measurement, evaluate
from minichar.training.events import EndedEarly, Evaluated, Extended, Saved, Step
from minichar.training.settings import Settings
from minichar.training.start import resume
from minichar.training.timetable import Timetable


def timetable(**changes):
    """Return the timetable of a run with 10 steps per epoch, by default without warm-up and patience."""
    return Timetable(Settings(**{"max_epochs": 2, "patience": 0, "warmup": 0.0} | changes), 10, 4)


def due(plan, iterations):
    return [i for i in iterations if plan.is_evaluation_due(i)]


@pytest.mark.parametrize(("epochs", "total"), [(2, 20), (0.25, 2), (0.26, 3), (0.001, 1)])
def test_the_number_of_epochs_can_be_a_fraction(epochs, total):
    assert timetable(max_epochs=epochs).total == total


def test_evaluations_at_regular_intervals():
    plan = timetable(eval_val_every=8)
    plan.now = 1200.0
    assert due(plan, range(1, 21)) == [8, 16, 20]


def test_by_default_evaluations_are_after_every_epoch_and_every_two_minutes():
    plan = timetable(max_epochs=2.5)
    assert due(plan, range(1, 26)) == [10, 20, 25]
    plan.now = 119.0
    assert not plan.is_evaluation_due(3)
    plan.now = 120.0
    assert plan.is_evaluation_due(3)


@pytest.mark.parametrize(("seconds", "pause"), [(13, 120), (14, 126), (240, 2160)])
def test_evaluations_take_at_most_a_tenth_of_the_time(seconds, pause):
    plan = timetable()
    plan.now = 1000.0
    plan.evaluated(seconds, saving=1)
    plan.now += pause - 1
    assert not plan.is_evaluation_due(3)
    plan.now += 1
    assert plan.is_evaluation_due(3)
    assert plan.is_evaluation_due(10), "an evaluation is always due at the end of an epoch"


@pytest.mark.parametrize(("every", "seconds", "expected"), [(None, 119, 2), (None, 600, 7), (8, 600, 3)])
def test_the_expected_number_of_evaluations(every, seconds, expected):
    assert timetable(max_epochs=2.5, eval_val_every=every).evaluations(seconds) == expected


@pytest.mark.parametrize(("limit", "words"), [(1.5, "1.5 minutes"), (1, "1 minute")])
def test_the_time_limit(limit, words):
    plan = timetable(max_time=limit)
    for seconds, steps, reason in ((1, 1, ""), (60 * limit, 0, ""), (60 * limit, 1, f"of {words}")):
        plan.tick(seconds, steps)
        assert plan.reason_to_end() == (f"reached the time limit {reason}" if reason else "")


def test_without_limits_the_run_does_not_end_early():
    plan = timetable(patience=0)
    for _ in range(100):
        plan.count(1, best=False)
    plan.tick(1e9, 2)
    assert plan.reason_to_end() == ""
    assert plan.deadline() == inf
    assert not plan.is_late()


@pytest.mark.parametrize(
    ("first_step_end", "now", "evaluation", "most", "epochs"),
    [
        (0.0, 20.0, 0.0, 100, 18.0),
        (0.0, 20.0, 4.0, 100, 15.6),  # for two evaluations
        (10.0, 30.0, 0.0, 100, 15.0),
        (0.0, 54.0, 0.0, 100, 6.667),
        (0.0, 55.0, 0.0, 100, 0.0),  # too little time is left
        (0.0, 20.0, 0.0, 13.5, 13.5),
        (0.0, 20.0, 0.0, 6.5, 0.0),
    ],
)
def test_a_run_that_is_faster_than_planned_is_extended(first_step_end, now, evaluation, most, epochs):
    """60 steps after the first took `now - first_step_end` seconds. The time limit is 60 seconds."""
    plan = timetable(max_epochs=6, max_time=1.0, warmup=0.5)
    plan.tick(first_step_end, 1)
    plan.most_epochs, plan.evaluation, plan.now, plan.steps = most, evaluation, now, 61
    assert plan.extend(60) == epochs
    assert (plan.total, plan.warmup) == (round(10 * epochs) or 60, 30)


@pytest.mark.parametrize(
    ("steps", "limit", "extended"), [(49, 1.0, False), (50, 1.0, True), (60, 0.0, False)]
)
def test_a_run_of_a_few_steps_or_without_a_time_limit_is_not_extended(steps, limit, extended):
    plan = timetable(max_epochs=steps / 10, max_time=limit)
    plan.most_epochs, plan.now, plan.steps = 100, 1.0, steps
    assert (plan.extend(steps) > 0) == extended


def test_steps_of_earlier_processes_do_not_count_towards_the_extension():
    """A resumed run has time for 16 more steps, which is more than a tenth of its own 60 steps."""
    plan = timetable(max_epochs=1006, max_time=1.0)
    plan.begin(10_000)
    plan.most_epochs, plan.now, plan.steps = inf, 47.2, 60
    plan.first_step_end = 47.2 - 59 * 0.8
    assert plan.extend(10_060) == 1008


def test_patience_counts_evaluations_without_improvement():
    plan = timetable(patience=2)
    for best, reason in [(True, False), (False, False), (True, False), (False, False), (False, True)]:
        plan.count(1, best)
        assert bool(plan.reason_to_end()) == reason
    assert plan.reason_to_end() == "the validation loss has not improved in 2 evaluations"


def test_patience_does_not_count_evaluations_during_warm_up():
    plan = timetable(patience=2, warmup=0.5)
    ended = []
    for iteration in range(8, 14):
        plan.count(iteration, best=False)
        ended.append(bool(plan.reason_to_end()))
    assert ended == [False] * 4 + [True] * 2  # the warm-up takes 10 steps


LIMIT = {"max_time": 1.0, "max_epochs": 1e6, "train_frac": 0.8, "val_frac": 0.2, "num_layers": 1}
"""A time limit of 60 seconds, and 7 validation chunks."""
STARTED = 1000.0


def run(trainer, clock, **later):
    """Run, and return the evaluations, the other events and the duration in seconds.

    `later` are the clock's attributes from the first checkpoint on.
    """
    evaluated, others = [], []
    for event in trainer.run(started=STARTED):
        (evaluated if isinstance(event, Evaluated) else others).append(event)
        if isinstance(event, Saved):
            vars(clock).update(later)
    return evaluated, others, clock.now - STARTED


def test_before_the_first_evaluation_its_duration_is_estimated_from_the_steps(trainer_of, clock):
    """A forward pass takes half as long as a step."""
    clock.chunk, clock.step = 0.5, lambda i: 20.0 if i == 1 else 1.0
    trainer = trainer_of(**LIMIT, eval_val_every=1000)
    (evaluated,), _, seconds = run(trainer, clock)
    assert trainer.iteration == 1 + 60 - 20 - 8, "the time of a step and 14 forward passes is reserved"
    assert evaluated.val
    assert evaluated.fit
    assert seconds == 59


def test_the_measured_duration_of_an_evaluation_is_reserved_for_the_last_one(trainer_of, clock):
    clock.step, clock.chunk, clock.saving = lambda i: 0.5, 0.05, 2.0
    evaluated, _, seconds = run(trainer_of(**LIMIT, eval_val_every=20), clock)
    assert len(evaluated) > 1
    assert evaluated[-1].fit
    assert 59 < seconds <= 60


@pytest.mark.parametrize(("every", "at"), [(50, [50, 100, 150]), (152, [152]), (156, [])])
def test_no_evaluation_takes_place_shortly_before_the_last_one(trainer_of, clock, every, at):
    """The first one is expected to take 2 seconds, so it begins at most 11 × 2 seconds before the limit."""
    clock.step, clock.chunk = lambda i: 0.25, 1 / 14
    evaluated, _, seconds = run(trainer_of(**LIMIT, eval_val_every=every), clock)
    *earlier, last = [event.iteration for event in evaluated]
    assert earlier == at
    assert last > 220
    assert 58 <= seconds <= 60


def test_if_evaluations_become_slower_the_last_one_omits_the_training_chunks(trainer_of, clock):
    clock.step, clock.chunk, clock.saving = lambda i: 0.25, 0.1, 0.5
    trainer = trainer_of(**LIMIT, eval_val_every=150)
    evaluated, _, seconds = run(trainer, clock, chunk=0.21)
    assert [bool(event.fit) for event in evaluated] == [True, False]
    last = evaluated[-1]
    assert last.val.characters == 7 * 24
    assert not last.shortened
    assert 59.7 < seconds <= 60
    assert trainer.saver.last.name.endswith(f"_{last.val.loss:.4f}.npz")


def test_if_evaluations_become_much_slower_the_last_one_is_shortened(trainer_of, clock):
    """The loss of the first chunks is not compared with that of all chunks."""
    clock.step, clock.chunk, clock.saving = lambda i: 0.25, 0.1, 0.5
    trainer = trainer_of(**LIMIT, eval_val_every=150)
    evaluated, _, seconds = run(trainer, clock, chunk=0.5)
    assert 59.5 < seconds <= 60
    first, last = evaluated
    assert last.val is last.fit is None
    first_chunks = [trainer.split.val[k] for k in range(3)]
    network = trainer.model.network(trainer.split.T, trainer.split.B)
    assert last.shortened == evaluate(Measurement(network), first_chunks)
    assert last.record()["shortened"]["loss"] == last.shortened.loss
    path = trainer.saver.last
    assert path.name.endswith("_unmeasured.npz")
    assert trainer.best == trainer.saver.saved[0] != path
    assert [row["val_loss"] for row in history_of(path)] == [first.val.loss, None]


def test_at_most_a_quarter_of_the_time_is_reserved(trainer_of, clock):
    clock.step = lambda i: 3.0
    trainer = trainer_of(**LIMIT)
    run(trainer, clock)
    assert trainer.iteration == 15


def test_if_the_limit_is_reached_before_training_one_step_is_made(trainer_of, clock):
    clock.now += 100
    trainer = trainer_of(**LIMIT)
    (evaluated,), others, _ = run(trainer, clock)
    assert trainer.iteration == 1
    assert evaluated.shortened.characters == 24
    assert [type(event) for event in others] == [Step, Saved, EndedEarly]


def test_by_default_the_clock_starts_with_the_run(trainer_of, clock):
    trainer = trainer_of(**LIMIT | {"max_epochs": 1})
    clock.now += 100
    list(trainer.run())
    assert trainer.iteration == trainer.iterations


def test_time_before_the_first_step_does_not_make_an_evaluation_or_a_save_due(trainer_of, clock):
    clock.now += 500
    trainer = trainer_of(max_epochs=1, eval_val_every=None, checkpoint_every=100)
    events = [event for event in trainer.run(started=STARTED) if not isinstance(event, Step)]
    assert [(type(event), trainer.iteration) for event in events] == [
        (Evaluated, trainer.iterations),
        (Saved, trainer.iterations),
    ]


def test_a_run_that_reached_the_limit_is_resumed_exactly(trainer_of, clock):
    options = {"max_epochs": 3, "dropout": 0.3, "start_ss": 0.8, "max_time": 0.5}
    whole, trainer = trainer_of(**options | {"max_time": 0.0}), trainer_of(**options)
    list(whole.run())
    counts, begun = [], clock.now
    while trainer.iteration < trainer.iterations:
        before = trainer.iteration
        list(trainer.run())
        counts.append(trainer.iteration - before)
        if trainer.iteration < trainer.iterations:
            trainer = resume(trainer.saver.last, {}).trainer
    assert len(counts) == 4, "each run has the full time"
    assert len({*counts[:-1]}) == 1
    np.testing.assert_array_equal(trainer.model.parameters.flat, whole.model.parameters.flat)
    assert trainer.generator.state == whole.generator.state
    assert load(trainer.saver.last).seconds == clock.now - begun, "the time of all runs"


def test_an_extended_run_equals_one_of_the_new_length_and_is_resumed_exactly(trainer_of, clock):
    options = {"max_epochs": 2, "warmup": 0.5, "dropout": 0.3, "patience": 0, "eval_val_every": 100}
    trainer = trainer_of(**options, max_time=1.0)
    trainer.timetable.most_epochs = 1e6
    planned = trainer.iterations
    clock.step = lambda i: 40.0 / planned
    (extended,) = (event for event in run(trainer, clock)[1] if isinstance(event, Extended))
    assert 55 < clock.now - STARTED <= 60
    assert trainer.iterations > 1.3 * planned
    assert planned in trainer.history["iteration"], "it was evaluated at the planned end too"
    whole = trainer_of(**options | {"max_epochs": extended.epochs, "warmup": extended.warmup})
    list(whole.run())
    stopped = trainer_of(**options, max_time=1.0)
    stopped.timetable.most_epochs = 1e6
    for event in stopped.run():
        stopped.stopping |= isinstance(event, Step) and event.iteration == planned + 5
    resumed = resume(stopped.saver.last, {"max_time": 0.0}).trainer
    list(resumed.run())
    for other in (whole, resumed):
        assert other.iteration == trainer.iteration
        np.testing.assert_array_equal(trainer.model.parameters.flat, other.model.parameters.flat)


def test_a_run_whose_first_part_was_not_timed_does_not_say_how_long_it_took(trainer_of, clock):
    trainer = trainer_of(**LIMIT | {"max_time": 0.1})
    list(trainer.run())
    path = trainer.saver.last
    model, training = load_training(path)
    assert model.seconds > 0
    del model.details["seconds"]
    save(path, model, training)
    later = resume(path, {}).trainer
    list(later.run())
    assert 0 < load(later.saver.last).seconds < 60
