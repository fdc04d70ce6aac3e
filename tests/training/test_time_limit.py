"""Tests that a run ends at its time limit, however long its steps, evaluations and checkpoints take."""

import numpy as np
import pytest
from toys import history_of

from minichar.checkpoints.checkpoint import load, load_training, save
from minichar.training.evaluation import Measurement, evaluate
from minichar.training.events import EndedEarly, Evaluated, Extended, Saved, Step
from minichar.training.start import resume

LIMIT = {"max_time": 1.0, "max_epochs": 1e6, "train_frac": 0.8, "val_frac": 0.2}
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


@pytest.mark.parametrize(("chunk", "saving"), [(0.1, 0.5), (0.02, 2.0)])
def test_the_measured_duration_of_an_evaluation_is_reserved_for_the_last_one(
    trainer_of, clock, chunk, saving
):
    clock.step, clock.chunk, clock.saving = lambda i: 0.25, chunk, saving
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
    clock.step = lambda i: 15.0 / planned
    (extended,) = (event for event in run(trainer, clock)[1] if isinstance(event, Extended))
    assert 57 < clock.now - STARTED <= 60
    assert trainer.iterations > 3 * planned
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
    model, state = load_training(path)
    assert model.seconds > 0
    del model.details["seconds"]  # as in checkpoints of older versions
    save(path, model, state)
    later = resume(path, {}).trainer
    list(later.run())
    assert load(later.saver.last).seconds is None
