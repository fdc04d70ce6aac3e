import pytest

from minichar.training.settings import Settings
from minichar.training.timetable import Timetable


def due(plan, iterations):
    return [i for i in iterations if plan.is_evaluation_due(i)]


@pytest.mark.parametrize(("epochs", "total"), [(2, 20), (0.25, 2), (0.26, 3), (0.001, 1)])
def test_the_number_of_epochs_can_be_a_fraction(epochs, total):
    assert Timetable(Settings(max_epochs=epochs), 10).total == total


def test_evaluations_at_regular_intervals():
    plan = Timetable(Settings(max_epochs=2, eval_val_every=8), 10)
    plan.now = 1200.0
    assert due(plan, range(1, 21)) == [8, 16, 20]


def test_by_default_evaluations_are_after_every_epoch_and_every_two_minutes():
    plan = Timetable(Settings(max_epochs=2.5, eval_val_every=0), 10)
    assert due(plan, range(1, 26)) == [10, 20, 25]
    plan.now = 119.0
    assert not plan.is_evaluation_due(3)
    plan.now = 120.0
    assert plan.is_evaluation_due(3)
    plan.evaluated(seconds=13)
    assert not plan.is_evaluation_due(4)


@pytest.mark.parametrize(("seconds", "pause"), [(13, 120), (14, 126), (240, 2160)])
def test_evaluations_take_at_most_a_tenth_of_the_time(seconds, pause):
    plan = Timetable(Settings(max_epochs=2, eval_val_every=0), 10)
    plan.now = 1000.0
    plan.evaluated(seconds)
    plan.now += pause - 1
    assert not plan.is_evaluation_due(3)
    plan.now += 1
    assert plan.is_evaluation_due(3)
    assert plan.is_evaluation_due(10), "an evaluation is always due at the end of an epoch"


@pytest.mark.parametrize(("every", "seconds", "expected"), [(0, 119, 2), (0, 600, 7), (8, 600, 3)])
def test_the_expected_number_of_evaluations(every, seconds, expected):
    assert Timetable(Settings(max_epochs=2.5, eval_val_every=every), 10).evaluations(seconds) == expected


def test_the_time_limit():
    plan = Timetable(Settings(max_time=1.5), 10)
    plan.now = 89
    assert not plan.is_evaluation_due(3)
    assert plan.reason_to_end() == ""
    plan.now = 90
    assert plan.is_evaluation_due(3)
    assert plan.reason_to_end() == "reached the time limit of 1.5 minutes"
    plan = Timetable(Settings(max_time=1), 10)
    plan.now = 60
    assert plan.reason_to_end() == "reached the time limit of 1 minute"


def test_without_a_limit_time_does_not_end_the_run():
    plan = Timetable(Settings(), 10)
    plan.now = 1e9
    assert plan.reason_to_end() == ""


def test_patience_counts_evaluations_without_improvement():
    plan = Timetable(Settings(patience=2), 10)
    for best, reason in [(True, False), (False, False), (True, False), (False, False), (False, True)]:
        plan.count(1, best)
        assert bool(plan.reason_to_end()) == reason
    assert plan.reason_to_end() == "the validation loss has not improved in 2 evaluations"


def test_patience_does_not_count_evaluations_during_warm_up():
    plan = Timetable(Settings(patience=2, max_epochs=2, warmup=0.5), 10)
    ended = []
    for iteration in range(8, 14):
        plan.count(iteration, best=False)
        ended.append(bool(plan.reason_to_end()))
    assert ended == [False] * 4 + [True] * 2  # the warm-up takes 10 steps


def test_without_patience_the_run_does_not_end_early():
    plan = Timetable(Settings(patience=0), 10)
    for _ in range(100):
        plan.count(1, best=False)
    assert plan.reason_to_end() == ""
