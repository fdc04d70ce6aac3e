import os
import re
from itertools import pairwise

import numpy as np
import pytest
from toys import TEXT, listing, parts, take, toy_settings

import minichar.training.trainer as trainer_module
from minichar.checkpoints.checkpoint import load
from minichar.checkpoints.naming import best_checkpoint, loss_in_name
from minichar.errors import MinicharError
from minichar.training.evaluation import Evaluation, evaluate
from minichar.training.start import begin
from minichar.training.trainer import Evaluated, Saved, Step


@pytest.fixture
def trainer_of(tmp_path):
    """Make a trainer of a toy run with these settings."""
    return lambda text=TEXT, **changes: begin(toy_settings(tmp_path, text, **changes)).trainer


def names(trainer):
    return sorted(os.listdir(trainer.settings.checkpoint_dir))


def watch(monkeypatch, thing, method, note):
    """Call `note` with the arguments of every call of a method, before it."""
    original = getattr(thing, method)

    def watched(*arguments):
        note(*arguments)
        return original(*arguments)

    monkeypatch.setattr(thing, method, watched)


# The order of things


def test_every_chunk_of_every_epoch_is_learned_once_and_in_order(trainer_of, monkeypatch):
    trainer = trainer_of(use_ss=False)
    seen = []
    watch(monkeypatch, trainer.step.network, "learn", lambda feed, targets: seen.append(targets.copy()))
    events = list(trainer.run())
    n = len(trainer.split.train)
    assert n > 20
    np.testing.assert_array_equal(seen, [targets for _, targets in trainer.split.train] * 2)
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.iteration for step in steps] == list(range(1, 2 * n + 1))
    assert [step.epoch for step in steps] == [i / n for i in range(1, 2 * n + 1)]


def test_the_state_is_carried_within_an_epoch_and_zero_where_one_begins(trainer_of, monkeypatch):
    trainer = trainer_of(max_epochs=3)
    network, before, after = trainer.step.network, [], []
    watch(monkeypatch, network, "learn", lambda feed, targets: before.append(network.state))
    n = len(trainer.split.train)
    for event in trainer.run():
        if isinstance(event, Step):
            after.append(network.state)
    for i, state in enumerate(before):
        if i % n == 0:
            assert not state.any()
        else:
            assert state.any()
            np.testing.assert_array_equal(state, after[i - 1])


def test_losses_are_those_of_one_pass_over_the_text(trainer_of):
    """A rate too small to change a weight leaves the losses of a model that only reads."""
    trainer = trainer_of(learning_rate=1e-30, use_ss=False, dtype="float64")
    read = evaluate(trainer.model.network(trainer.split.T, trainer.split.B), trainer.split.train)
    losses = [event.loss for event in trainer.run() if isinstance(event, Step)]
    n = len(trainer.split.train)
    assert losses[0] == pytest.approx(read.first, rel=1e-12)
    assert np.mean(losses[:n]) == pytest.approx(read.loss, rel=1e-12)
    assert losses[:n] == losses[n:]


def test_it_learns(trainer_of):
    trainer = trainer_of(max_epochs=25, learning_rate=0.01)
    losses = [event.loss for event in trainer.run() if isinstance(event, Step)]
    assert losses[0] == pytest.approx(np.log(len(trainer.model.vocabulary)), abs=0.1)
    assert np.mean(losses[-10:]) < 0.6 * losses[0]


def test_events_in_their_order(trainer_of):
    trainer = trainer_of(eval_val_every=25, max_epochs=2)
    kinds = [type(event).__name__ for event in trainer.run()]
    n = trainer.iterations
    assert 50 < n < 75
    measured = ["Evaluated", "Saved"]
    assert kinds == ["Step"] * 25 + measured + ["Step"] * 25 + measured + ["Step"] * (n - 50) + measured


def test_what_an_evaluation_says(trainer_of):
    settings = {"eval_val_every": 20, "learning_rate_decay_after": 1, "start_ss": 0.9, "min_ss": 0.5}
    trainer = trainer_of(**settings, learning_rate=0.01, learning_rate_decay=0.5, decay_ss=0.1)
    events = list(trainer.run())
    losses = [event.loss for event in events if isinstance(event, Step)]
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    ends = [0, *(event.iteration for event in evaluated)]
    for (start, end), event in zip(pairwise(ends), evaluated, strict=True):
        assert event.train_loss == pytest.approx(np.mean(losses[start:end]))
        e = (end - 1) // len(trainer.split.train)
        assert event.learning_rate == 0.01 * 0.5**e
        assert event.teacher_forcing_ratio == pytest.approx(0.9 - 0.1 * e)
    network = trainer.model.network(trainer.split.T, trainer.split.B)
    assert evaluated[-1].val == evaluate(network, trainer.split.val)
    assert [row["iteration"] for row in trainer.history] == ends[1:]


@pytest.mark.parametrize("dropout", [0, 0.3])
def test_measuring_does_not_disturb_the_run(trainer_of, dropout):
    often, never = (trainer_of(eval_val_every=every, dropout=dropout, start_ss=0.8) for every in (1, 1000))
    for trainer in (often, never):
        list(trainer.run())
    np.testing.assert_array_equal(often.model.parameters.flat, never.model.parameters.flat)
    assert often.generator.state == never.generator.state
    assert len(often.history) == often.iterations
    assert len(never.history) == 1


def test_validation_is_without_dropout(trainer_of):
    trainer = trainer_of(dropout=0.5, eval_val_every=30)
    evaluated = next(event for event in trainer.run() if isinstance(event, Evaluated))
    network = trainer.model.network(trainer.split.T, trainer.split.B)
    assert evaluated.val == evaluate(network, trainer.split.val)


# Learning rate, scheduled sampling, clipping


def test_the_rate_and_the_share_of_each_epoch_are_used(trainer_of, monkeypatch):
    rates, shares = [], []
    trainer = trainer_of(
        max_epochs=4,
        learning_rate=0.016,
        learning_rate_decay=0.5,
        learning_rate_decay_after=2,
        start_ss=1.0,
        decay_ss=0.25,
        min_ss=0.5,
        ss_feed="argmax",
        dtype="float64",
    )
    mixed = trainer.step.mixed
    watch(monkeypatch, trainer.step.optimiser, "step", lambda g, rate: rates.append(float(rate)))
    watch(monkeypatch, mixed, "draw_mask", lambda share, generator: shares.append((share, mixed.feed)))
    list(trainer.run())
    n = len(trainer.split.train)
    assert rates == [0.016] * 2 * n + [0.008] * n + [0.004] * n
    assert shares == [(0.75, "argmax")] * n + [(0.5, "argmax")] * 2 * n


@pytest.mark.parametrize("changes", [{}, {"use_ss": False, "start_ss": 0.5, "min_ss": 0.1}])
def test_while_the_share_is_one_no_random_number_is_drawn(trainer_of, changes, monkeypatch):
    trainer = trainer_of(max_epochs=1, **changes)
    monkeypatch.setattr(trainer.step, "mixed", None)
    monkeypatch.setattr(trainer.step, "learn_mixed", None)
    before = trainer.generator.state
    list(trainer.run())
    assert trainer.generator.state == before


@pytest.mark.parametrize("changes", [{"start_ss": 0.9}, {"dropout": 0.1}])
def test_coins_and_masks_are_drawn(trainer_of, changes):
    trainer = trainer_of(max_epochs=1, **changes)
    before = trainer.generator.state
    list(trainer.run())
    assert trainer.generator.state != before


def test_scheduled_sampling_feeds_what_the_backward_pass_sees(trainer_of):
    """With a share of 0 only the first character of a chunk is true: the rest are the model's own."""
    trainer = trainer_of(start_ss=0.0, min_ss=0.0, ss_feed="argmax", learning_rate=1e-30)
    inputs, _ = trainer.split.train[0]
    trainer.learn()
    fed = trainer.step.network.fed
    np.testing.assert_array_equal(fed[0], inputs[0])
    np.testing.assert_array_equal(fed[1:], trainer.step.network.logits()[:-1].argmax(axis=1))


def first_gradient(trainer):
    trainer.learn()
    return trainer.step.network.gradient.flat.copy()


def test_the_gradient_is_clipped_on_char_rnns_scale(trainer_of):
    """The option bounds the gradient summed over time; what is clipped is that of the mean over time."""
    trainer = trainer_of(grad_clip=0)
    T, free = trainer.split.T, first_gradient(trainer)
    limit = float(np.median(abs(free[free != 0])))
    clipped = first_gradient(trainer_of(grad_clip=limit * T))
    np.testing.assert_allclose(clipped, np.clip(free, -limit, limit), rtol=1e-6)
    assert (abs(free) > 2 * limit).any()


def test_the_gradient_is_shortened(trainer_of):
    free = first_gradient(trainer_of(grad_clip=0))
    length = np.linalg.norm(free)
    shortened = first_gradient(trainer_of(grad_clip=0, clip_norm=float(length) / 4))
    np.testing.assert_allclose(shortened, free / 4, rtol=1e-5, atol=1e-9)
    left = first_gradient(trainer_of(grad_clip=0, clip_norm=float(length) * 4))
    np.testing.assert_allclose(left, free, rtol=1e-6)


def test_both_clippings_one_after_the_other(trainer_of):
    free = first_gradient(trainer_of(grad_clip=0))
    limit = float(abs(free).max()) / 2
    clipped = np.clip(free, -limit, limit)
    norm = float(np.linalg.norm(clipped)) / 2
    trainer = trainer_of(grad_clip=limit * 6, clip_norm=norm)
    assert trainer.split.T == 6
    np.testing.assert_allclose(first_gradient(trainer), clipped / 2, rtol=1e-4, atol=1e-9)


# When it fails


def sabotage(trainer, iteration, name, change, watched=False):
    """Run, and after so many chunks change a parameter; return the checkpoints of then, and the error.

    If the run is `watched`, somebody asks for the loss of every chunk.
    """
    before = None
    try:
        for event in trainer.run():
            if watched and isinstance(event, Step):
                assert np.isfinite(event.loss)
            if isinstance(event, Step) and event.iteration == iteration:
                before = listing(trainer.settings.checkpoint_dir)
                change(trainer.model.parameters[name])
    except MinicharError as error:
        assert listing(trainer.settings.checkpoint_dir) == before
        return before, str(error)
    raise AssertionError("the run did not fail")


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["layer1.W", "layer2.W", "readout.W"])
def test_a_weight_that_is_not_finite_stops_the_run(trainer_of, value, name, watched):
    """If somebody watches, at the loss of the next chunk; behind a tanh an infinity shows a chunk later.

    If nobody does, at the next measurement, before anything is saved.
    """
    trainer = trainer_of(eval_val_every=5)
    checkpoints, error = sabotage(trainer, 12, name, lambda view: view.__setitem__((1, 2), value), watched)
    assert re.match(r"training failed: loss .*Parameter (layer\d|readout)\.W is no longer finite", error)
    assert trainer.iteration <= (15 if not watched else 13 if np.isnan(value) else 14)
    if np.isnan(value):
        assert f"Parameter {name} " in error
    assert len(checkpoints) == 2
    for path in trainer.saved:
        assert np.isfinite(load(path).parameters.flat).all()


@pytest.mark.parametrize("name", ["layer1.W", "layer2.W", "readout.W"])
def test_the_parameter_that_is_not_finite_is_named(trainer_of, name):
    trainer = trainer_of()
    trainer.learn()
    trainer.model.parameters[name][1, 2] = np.nan
    with pytest.raises(MinicharError, match=rf"training failed: .*Parameter {name} is no longer finite"):
        trainer.look(trainer.backend.xp.asarray(np.nan))


@pytest.mark.parametrize("watched", [True, False])
def test_a_loss_three_times_the_first_stops_the_run(trainer_of, watched):
    trainer = trainer_of(eval_val_every=5)
    checkpoints, error = sabotage(trainer, 7, "readout.W", lambda view: view.__imul__(3e4), watched)
    assert trainer.iteration <= (8 if watched else 10)
    assert f"the first was {trainer.first_loss:.4g}" in error
    assert "Parameter readout.W has grown to " in error
    assert "try a lower learning_rate or grad_clip" in error
    assert len(checkpoints) == 1


def test_a_lone_spike_that_nobody_saw_stops_the_run_at_the_next_measurement(trainer_of):
    trainer = trainer_of(eval_val_every=5)

    def one_chunk_was_bad():
        for event in trainer.run():
            if isinstance(event, Step) and event.iteration == 7:
                trainer.step.worst[...] = 3.1 * trainer.first_loss  # the mean of five chunks hides it

    with pytest.raises(MinicharError, match=r"training failed: loss [\d.]+ by epoch .*the first was"):
        one_chunk_was_bad()
    assert trainer.iteration == 10
    assert len(trainer.saved) == 1


def test_a_bad_loss_that_nobody_saw_is_not_saved_by_an_interruption(trainer_of):
    trainer = trainer_of(eval_val_every=100)

    def interrupted():
        for event in trainer.run():
            if isinstance(event, Step) and event.iteration == 3:
                trainer.step.worst[...] = 3.1 * trainer.first_loss
                trainer.stop()

    with pytest.raises(MinicharError, match="training failed"):
        interrupted()
    assert trainer.saved == []


def test_a_first_loss_however_high_is_learned_from(trainer_of):
    trainer = trainer_of()
    trainer.model.parameters["readout.W"][...] *= 1e5
    before = trainer.model.parameters.flat.copy()
    assert trainer.look(trainer.learn()) > 100
    assert (trainer.model.parameters.flat != before).any()


def test_the_limit_is_three_times_the_first_loss(trainer_of):
    trainer = trainer_of()
    trainer.check(5.0)
    trainer.check(15.0)
    trainer.check(0.1)
    for loss in (15.001, np.nan, np.inf, -np.inf):
        with pytest.raises(MinicharError, match="training failed"):
            trainer.check(loss)


def test_a_model_that_begins_well_trained_may_lose_much_of_it(trainer_of):
    """As when it goes on with another text: it fails when it is worse than one that knows nothing."""
    trainer = trainer_of()
    untrained = np.log(trainer.model.config.vocab_size)
    trainer.check(0.001)
    trainer.check(2.9 * untrained)
    with pytest.raises(MinicharError, match="training failed"):
        trainer.check(3.1 * untrained)


def test_a_failure_before_the_first_checkpoint_says_so(trainer_of):
    trainer = trainer_of()
    trainer.check(1.0)
    with pytest.raises(MinicharError, match="No checkpoint was saved; try a lower learning_rate"):
        trainer.check(np.nan)


def test_a_first_loss_that_is_not_finite(trainer_of):
    with pytest.raises(MinicharError, match="training failed: loss nan by epoch 0"):
        trainer_of().check(np.nan)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_a_model_that_went_bad_by_its_last_update_is_not_saved(trainer_of, value):
    trainer = trainer_of(eval_val_every=5)
    checkpoints, error = sabotage(trainer, 10, "readout.W", lambda view: view.__setitem__(0, value))
    assert re.match(r"training failed: .*Parameter readout\.W", error)
    assert len(checkpoints) == 1


@pytest.mark.parametrize("learning_rate", [1e10, 1e38, 1e300])
@pytest.mark.parametrize("val_frac", [0.05, 0.0])
def test_a_rate_far_too_large_is_no_noise_and_no_checkpoint(trainer_of, cell, learning_rate, val_frac):
    """Warnings would be errors here."""
    trainer = trainer_of(
        learning_rate=learning_rate, eval_val_every=1, val_frac=val_frac, clip_norm=1, **cell
    )
    with pytest.raises(MinicharError, match=r"training failed: .*Parameter (layer\d|readout)\."):
        list(trainer.run())
    for path in trainer.saved:
        assert np.isfinite(load(path).parameters.flat).all()


# Checkpoints


def test_the_name_and_the_content_agree(trainer_of):
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
        assert header["training"]["history"][-1]["val"]["loss"] == measured.val.loss
    assert names(trainer) == sorted(event.path.name for event in saved)
    np.testing.assert_array_equal(load(saved[-1].path).parameters.flat, trainer.model.parameters.flat)


def test_best_is_said_of_every_new_lowest_loss(trainer_of, monkeypatch):
    losses = iter(np.repeat([3.0, 2.0, 2.5, 2.0, 1.0, 1.5], 2))  # each measured on val, then on train
    monkeypatch.setattr(trainer_module, "evaluate", lambda *_: Evaluation(next(losses), 1, 1, 24))
    trainer = trainer_of(eval_val_every=6, max_epochs=1)
    assert 30 < trainer.iterations <= 36
    best = [event.best for event in trainer.run() if isinstance(event, Saved)]
    assert best == [True, True, False, True, True, False]


def test_without_a_validation_part_nothing_is_measured(trainer_of):
    trainer = trainer_of(val_frac=0, train_frac=1, eval_val_every=25, max_epochs=1)
    events = list(trainer.run())
    assert [event.val for event in events if isinstance(event, Evaluated)] == [None, None]
    assert [event.best for event in events if isinstance(event, Saved)] == [False, False]
    n = len(trainer.split.train)
    assert names(trainer) == [f"lm_lstm_epoch{e:.2f}_unmeasured.npz" for e in (25 / n, 1)]
    assert best_checkpoint(trainer.settings.checkpoint_dir) == trainer.saved[-1]


def test_stopping_saves_at_once(trainer_of):
    trainer = trainer_of()
    events = take(trainer, 7)
    assert [type(event) for event in events] == [Step] * 7 + [Saved]
    assert names(trainer) == [f"lm_lstm_epoch{7 / len(trainer.split.train):.2f}_interrupted.npz"]


def test_a_stopped_run_leaves_that_of_another_alone(trainer_of):
    first, second = trainer_of(), trainer_of(seed=5)
    take(first, 7)
    before = first.saved[0].read_bytes()
    take(second, 7)
    assert second.saved[0].name == first.saved[0].name.replace("interrupted", "interrupted-2")
    assert first.saved[0].read_bytes() == before


def test_stopping_right_after_a_measurement_saves_once(trainer_of):
    trainer = trainer_of(eval_val_every=7)
    events = take(trainer, 7)
    assert [type(event) for event in events] == [Step] * 7 + [Evaluated, Saved]
    assert len(names(trainer)) == 1
    assert loss_in_name(trainer.saved[0]) < 10


def test_stopping_before_the_first_chunk_saves_nothing(trainer_of):
    trainer = trainer_of()
    trainer.stop()
    assert list(trainer.run()) == []
    assert names(trainer) == []


@pytest.mark.parametrize("keep", [0, 1, 2, 4])
def test_keep(trainer_of, keep):
    trainer = trainer_of(keep=keep, eval_val_every=4, learning_rate=0.02, max_epochs=1)
    written = [event.path for event in trainer.run() if isinstance(event, Saved)]
    assert len(written) > 6
    best = sorted(written, key=loss_in_name)[:keep] if keep else written
    assert names(trainer) == sorted({path.name for path in [*best, written[-1]]})
    assert sorted(trainer.saved) == sorted({*best, written[-1]})


def test_keep_leaves_the_checkpoints_of_others(trainer_of, tmp_path):
    (tmp_path / "cv").mkdir()
    others = ["lm_other_epoch1.00_9.0000.npz", "README.md"]
    for name in others:
        (tmp_path / "cv" / name).touch()
    trainer = trainer_of(keep=1, eval_val_every=4, max_epochs=1)
    list(trainer.run())
    assert set(others) < set(names(trainer))


def test_a_checkpoint_deleted_by_somebody_else_is_no_matter(trainer_of):
    trainer = trainer_of(keep=1, eval_val_every=4, max_epochs=1)
    for event in trainer.run():
        if isinstance(event, Saved):
            event.path.unlink()
    assert names(trainer) == []


def test_a_folder_that_cannot_be_written_is_found_before_the_work(trainer_of, tmp_path, monkeypatch):
    (tmp_path / "cv").write_text("a file")
    trainer = trainer_of()
    monkeypatch.setattr(trainer, "learn", None)
    with pytest.raises(MinicharError, match=r"cannot write to .*/cv/: File exists; choose another folder"):
        list(trainer.run())
    assert (tmp_path / "cv").read_text() == "a file"
