"""Tests for the training loop: chunk order, learning rates, evaluations, clipping and averaging."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from toys import losses_of, take, toy_model, toy_settings

from minichar.checkpoints.checkpoint import load
from minichar.devices.cpu import CPU
from minichar.training import schedules
from minichar.training.evaluation import Measurement, evaluate
from minichar.training.events import EndedEarly, Evaluated, Step
from minichar.training.settings import Settings
from minichar.training.start import begin, resume
from minichar.training.step import TrainingStep


def watch(monkeypatch, thing, method, note):
    """Patch a method to call `note` with the same arguments first."""
    original = getattr(thing, method)

    def watched(*arguments):
        note(*arguments)
        return original(*arguments)

    monkeypatch.setattr(thing, method, watched)


def test_each_epoch_trains_on_every_chunk_once_and_in_order(trainer_of, monkeypatch):
    trainer = trainer_of(use_ss=False)
    seen = []
    watch(
        monkeypatch,
        trainer.step.network,
        "loss_and_gradient",
        lambda feed, targets: seen.append(targets.copy()),
    )
    events = list(trainer.run())
    n = len(trainer.split.train)
    assert n > 20
    np.testing.assert_array_equal(seen, [targets for _, targets in trainer.split.train] * 2)
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.iteration for step in steps] == list(range(1, 2 * n + 1))
    assert [step.epoch for step in steps] == [i / n for i in range(1, 2 * n + 1)]


@pytest.mark.parametrize("reset", [True, False])
def test_the_state_is_carried_and_each_stream_is_reset_once_per_epoch(trainer_of, monkeypatch, reset):
    trainer = trainer_of(max_epochs=3, epoch_reset=reset)
    network, before, after = trainer.step.network, [], []
    watch(monkeypatch, network, "loss_and_gradient", lambda feed, targets: before.append(network.state))
    n, B = len(trainer.split.train), trainer.split.B
    for event in trainer.run():
        if isinstance(event, Step):
            after.append(network.state)
    assert not before[0].any()
    assert len(before) == 3 * n
    for i, state in enumerate(before[1:], 1):
        expected = after[i - 1].copy()
        for b in range(B) if reset else ():
            if i % n == b * n // B:
                expected[..., b] = 0.0
        assert state.any()
        np.testing.assert_array_equal(state, expected)


@pytest.mark.parametrize("most", [0, 2])
def test_the_contents_of_an_evaluation_event(trainer_of, most):
    settings = {"eval_val_every": 20, "learning_rate_decay_after": 1, "start_ss": 0.9, "min_ss": 0.5}
    settings |= {"learning_rate": 0.01, "learning_rate_decay": 0.5, "decay_ss": 0.1, "dropout": 0.5}
    trainer = trainer_of(**settings, max_val_chunks=most, train_frac=0.85, val_frac=0.15)
    events = list(trainer.run())
    kinds = [type(event).__name__ for event in events]
    measured = ["Step"] * 20 + ["Evaluated", "Saved"]
    whole, rest = divmod(trainer.iterations, 20)
    assert kinds == measured * whole + ["Step"] * rest + ["Evaluated", "Saved"]
    losses = [event.loss for event in events if isinstance(event, Step)]
    evaluated = [event for event in events if isinstance(event, Evaluated)]
    ends = [0, *(event.iteration for event in evaluated)]
    for (start, end), event in zip(pairwise(ends), evaluated, strict=True):
        assert event.train_loss == pytest.approx(np.mean(losses[start:end]))
        e = (end - 1) // len(trainer.split.train)
        assert event.learning_rate == 0.01 * 0.5**e
        assert event.teacher_forcing_ratio == pytest.approx(0.9 - 0.1 * e)
    split = trainer.split
    assert 3 < len(split.val) < len(split.train)
    for name, part in (("val", split.val), ("fit", split.train)):
        network = trainer.model.network(split.T, split.B)  # with a zero state
        chunks = [part[k] for k in range(most or len(split.val))]
        assert getattr(evaluated[-1], name) == evaluate(Measurement(network), chunks)
    assert [row["iteration"] for row in trainer.history] == ends[1:]


def test_evaluating_does_not_affect_the_run(trainer_of):
    often, never = (
        trainer_of(eval_val_every=every, dropout=0.3, start_ss=0.8, max_epochs=1) for every in (2, 1000)
    )
    for trainer in (often, never):
        list(trainer.run())
    np.testing.assert_array_equal(often.model.parameters.flat, never.model.parameters.flat)
    assert often.generator.state == never.generator.state
    assert len(often.history) == (often.iterations + 1) // 2
    assert len(never.history) == 1


def test_the_rates_of_each_step_are_used_and_recorded(trainer_of, monkeypatch):
    rates, ratios = [], []
    trainer = trainer_of(
        max_epochs=3,
        warmup=0.25,
        learning_rate_decay=0.5,
        learning_rate_decay_after=1,
        decay_ss=0.25,
        min_ss=0.5,
        ss_feed="argmax",
        dtype="float64",
        eval_val_every=7,
    )
    mixed = trainer.step.mixed
    watch(monkeypatch, trainer.step.optimiser, "step", lambda g, rate: rates.append(float(rate)))
    watch(monkeypatch, mixed, "draw_mask", lambda ratio, *_: ratios.append((ratio, mixed.feed)))
    list(trainer.run())
    N, n = trainer.iterations, len(trainer.split.train)
    assert ratios == [(0.75, "argmax")] * n + [(0.5, "argmax")] * n
    assert rates == [schedules.rates(trainer.settings, i, len(trainer.split.train), N)[0] for i in range(N)]
    assert rates[0] < rates[N // 4] > rates[-1] > 0
    assert [row["learning_rate"] for row in trainer.history] == [*rates[6::7], *rates[-1:] * (N % 7 > 0)]


def losses(monkeypatch, trainer, values):
    """Make successive evaluations return the validation losses `values`."""
    values, validate = iter(values), trainer.validate

    def changed():
        evaluated = validate()
        return replace(evaluated, val=replace(evaluated.val, loss=next(values)))

    monkeypatch.setattr(trainer, "validate", changed)


def test_patience_ends_the_run(trainer_of, monkeypatch):
    trainer = trainer_of(eval_val_every=3, patience=2)
    losses(monkeypatch, trainer, [3.0, 3.1, 2.9, 3.0, 2.9, 1.0])
    events = list(trainer.run())
    assert trainer.iteration == 15
    assert events[-1] == EndedEarly("the validation loss has not improved in 2 evaluations")


def test_without_validation_patience_does_not_end_the_run(trainer_of):
    trainer = trainer_of(eval_val_every=3, patience=1, train_frac=1.0, val_frac=0.0)
    assert not [event for event in trainer.run() if isinstance(event, EndedEarly)]
    assert trainer.iteration == trainer.iterations


def test_the_last_step_is_not_an_early_end(trainer_of, monkeypatch):
    trainer = trainer_of(max_epochs=1, patience=1, eval_val_every=1000)
    losses(monkeypatch, trainer, [3.0])
    trainer.saver.best_loss = 1.0
    assert not [event for event in trainer.run() if isinstance(event, EndedEarly)]


@pytest.mark.parametrize("changes", [{}, {"use_ss": False, "start_ss": 0.5, "min_ss": 0.1}])
def test_with_a_ratio_of_one_no_random_numbers_are_drawn(trainer_of, changes, monkeypatch):
    trainer = trainer_of(max_epochs=1, **changes)
    monkeypatch.setattr(trainer.step, "mixed", None)
    monkeypatch.setattr(trainer.step, "mixed_parts", None)
    before = trainer.generator.state
    list(trainer.run())
    assert trainer.generator.state == before


def first_gradient(trainer):
    """Return the gradient passed to RMSprop for the first chunk."""
    seen, step = [], trainer.step.optimiser.step
    trainer.step.optimiser.step = lambda g, rate: (seen.append(g.copy()), step(g, rate))
    trainer.learn()
    return seen[0]


def test_grad_clip_is_applied_before_clip_norm(trainer_of):
    free = first_gradient(trainer_of(grad_clip=0))
    limit = float(abs(free).max()) / 2
    clipped = np.clip(free, -limit, limit)
    norm = float(np.linalg.norm(clipped)) / 2
    trainer = trainer_of(grad_clip=limit * 6, clip_norm=norm)
    assert trainer.split.T == 6
    np.testing.assert_allclose(first_gradient(trainer), clipped / 2, rtol=1e-4, atol=1e-9)


# A single step


def step_of(model, **settings):
    step = TrainingStep(model, 8, 3, Settings(**{"learning_rate": 8e-3, "weight_decay": 0.0, **settings}))
    ids = np.random.default_rng(1).integers(len(model.vocabulary), size=(9, 3))
    return step, ids


def test_grad_clip_is_divided_by_the_steps_of_the_chunk():
    """Chunks of a short text are shorter than `seq_length`."""
    step, ids = step_of(toy_model(), seq_length=50, grad_clip=0.008)
    step.learn(ids[:-1], ids[1:], CPU.uniform(1))
    assert abs(step.network.gradient.flat).max() == 0.001


def test_a_small_loss_is_not_lost_in_a_large_float32_sum():
    step, ids = step_of(toy_model(dtype="float32"))
    step.total[...] = 2.0**25
    step.learn(ids[:-1], ids[1:], CPU.uniform(1))
    np.testing.assert_allclose(float(step.total) - 2.0**25, float(step.loss), rtol=1e-6)


@pytest.fixture
def settings_of(tmp_path):
    return lambda **changes: toy_settings(tmp_path, dtype="float64", eval_val_every=20, **changes)


def test_the_model_is_the_average_of_the_weights_in_training(settings_of):
    """Compare with the weights of the same run without averaging. The average is evaluated and saved."""
    plain, averaged = begin(settings_of()).trainer, begin(settings_of(ema=0.7)).trainer
    average = plain.model.parameters.flat.copy()
    for n in range(1, 41):
        losses_of(plain, 1)
        losses_of(averaged, 1)
        d = min(0.7, n / (9 + n))
        average = d * average + (1 - d) * plain.model.parameters.flat
        np.testing.assert_array_equal(averaged.step.theta.flat, plain.model.parameters.flat)
        np.testing.assert_allclose(averaged.model.parameters.flat, average, rtol=1e-12)
    val_loss = averaged.validate().val.loss
    model = load(averaged.save(val_loss).path)
    np.testing.assert_array_equal(model.parameters.flat, averaged.model.parameters.flat)
    network = model.network(plain.split.T, plain.split.B)
    assert evaluate(Measurement(network), plain.split.val).loss == val_loss


def test_without_an_average_a_resumed_run_continues_from_theta(settings_of):
    whole, half = begin(settings_of()).trainer, begin(settings_of(ema=0.9)).trainer
    take(whole, 30)
    take(half, 20)
    resumed = resume(half.saver.last, {"ema": 0.0}).trainer
    take(resumed, 30)
    np.testing.assert_array_equal(resumed.model.parameters.flat, whole.model.parameters.flat)


def test_averaging_can_start_on_resuming(settings_of):
    first = begin(settings_of()).trainer
    take(first, 30)
    resumed = resume(first.saver.last, {"ema": 0.9}).trainer
    np.testing.assert_array_equal(resumed.step.theta.flat, first.model.parameters.flat)
    take(resumed, 31)
    theta, average = resumed.step.theta.flat, resumed.model.parameters.flat
    expected = first.model.parameters.flat + (theta - first.model.parameters.flat) * (1 - 31 / 40)
    np.testing.assert_allclose(average, expected, rtol=1e-12)
