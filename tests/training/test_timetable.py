from math import inf

import pytest

from minichar.training.settings import Settings
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
    plan.evaluated(seconds=13, saving=1)
    assert not plan.is_evaluation_due(4)


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


def test_the_time_limit():
    plan = timetable(max_time=1.5)
    plan.tick(89, 0)
    assert plan.reason_to_end() == ""
    plan.tick(90, 0)
    assert plan.reason_to_end() == "", "the first step is always made"
    plan.tick(90, 1)
    assert plan.reason_to_end() == "reached the time limit of 1.5 minutes"
    plan = timetable(max_time=1)
    plan.tick(60, 1)
    assert plan.reason_to_end() == "reached the time limit of 1 minute"


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
        (0.0, 46.0, 0.0, 100, 7.83),
        (0.0, 47.0, 0.0, 100, 0.0),  # too little time is left
        (0.0, 20.0, 0.0, 13.5, 13.5),
        (0.0, 20.0, 0.0, 7.5, 0.0),
    ],
)
def test_a_run_that_is_faster_than_planned_is_extended(first_step_end, now, evaluation, most, epochs):
    """60 steps after the first took `now - first_step_end` seconds. The time limit is 60 seconds."""
    plan = timetable(max_epochs=6, max_time=1.0, warmup=0.5)
    plan.tick(first_step_end, 1)
    plan.most_epochs, plan.evaluation, plan.now, plan.steps = most, evaluation, now, 61
    assert plan.extend(60) == epochs
    assert (plan.total, plan.warmup) == (round(10 * epochs) or 60, 30)


def test_a_run_of_a_few_steps_is_not_extended():
    for steps, extended in ((49, False), (50, True)):
        plan = timetable(max_epochs=steps / 10, max_time=1.0)
        plan.most_epochs, plan.now, plan.steps = 100, 1.0, steps
        assert (plan.extend(steps) > 0) == extended


def test_without_a_time_limit_a_run_is_not_extended():
    plan = timetable()
    plan.most_epochs, plan.now, plan.steps = 100, 1.0, 60
    assert (plan.extend(60), plan.total) == (0.0, 20)


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
