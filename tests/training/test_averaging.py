from pathlib import Path

import numpy as np
import pytest
from toys import history_of, take, toy_settings

from minichar.checkpoints.checkpoint import load, load_training, save
from minichar.errors import MinicharError
from minichar.training.evaluation import Measurement, evaluate
from minichar.training.schedules import rates
from minichar.training.settings import Settings
from minichar.training.start import begin, resume


@pytest.fixture
def settings_of(tmp_path):
    return lambda **changes: toy_settings(tmp_path, dtype="float64", eval_val_every=20, **changes)


@pytest.mark.parametrize(
    ("i", "decay", "d"),
    [(0, 0.99, 0.1), (8, 0.99, 0.5), (90, 0.99, 0.91), (5000, 0.99, 0.99), (90, 0.5, 0.5)],
)
def test_the_decay_rises_to_its_limit(i, decay, d):
    assert rates(Settings(ema=decay, learning_rate=1e-3, warmup=0.0), i, 1, 1)[2] == pytest.approx(d)


def test_the_model_is_the_average_of_the_weights_in_training(settings_of):
    """Compare with the weights of the same run without averaging."""
    plain, averaged = begin(settings_of()).trainer, begin(settings_of(ema=0.7)).trainer
    average = plain.model.parameters.flat.copy()
    for n in range(1, 41):
        take(plain, n)
        take(averaged, n)
        d = min(0.7, n / (9 + n))
        average = d * average + (1 - d) * plain.model.parameters.flat
        np.testing.assert_array_equal(averaged.step.theta.flat, plain.model.parameters.flat)
        np.testing.assert_allclose(averaged.model.parameters.flat, average, rtol=1e-12)
        for trainer in (plain, averaged):
            trainer.stopping = False


def test_the_average_is_evaluated_and_saved(settings_of):
    trainer = begin(settings_of(ema=0.9)).trainer
    list(trainer.run())
    model = load(trainer.saver.saved[-1])
    np.testing.assert_array_equal(model.parameters.flat, trainer.model.parameters.flat)
    assert not np.array_equal(model.parameters.flat, trainer.step.theta.flat)
    loss = evaluate(Measurement(model.network(trainer.split.T, trainer.split.B)), trainer.split.val).loss
    assert history_of(trainer.saver.saved[-1])[-1]["val_loss"] == loss


@pytest.mark.parametrize("ema", [0.9, 0.0])
def test_a_run_with_an_average_resumes_exactly(settings_of, ema):
    """If averaging is turned off when a run is resumed, it continues from θ, not from the average."""
    whole = begin(settings_of(ema=ema)).trainer
    take(whole, 50)
    half = begin(settings_of(ema=0.9)).trainer
    take(half, 30)
    resumed = resume(half.saver.saved[-1], {"ema": ema}).trainer
    take(resumed, 50)
    np.testing.assert_array_equal(resumed.step.theta.flat, whole.step.theta.flat)
    if ema:
        np.testing.assert_array_equal(resumed.model.parameters.flat, whole.model.parameters.flat)


def test_averaging_can_start_on_resuming(settings_of):
    first = begin(settings_of()).trainer
    take(first, 30)
    resumed = resume(first.saver.saved[-1], {"ema": 0.9}).trainer
    np.testing.assert_array_equal(resumed.step.theta.flat, first.model.parameters.flat)
    take(resumed, 31)
    theta, average = resumed.step.theta.flat, resumed.model.parameters.flat
    expected = first.model.parameters.flat + (theta - first.model.parameters.flat) * (1 - 31 / 40)
    np.testing.assert_allclose(average, expected, rtol=1e-12)


@pytest.mark.parametrize("theta", [np.zeros(3), np.float64(np.nan)])
def test_corrupted_weights_in_training(settings_of, tmp_path, theta):
    trainer = begin(settings_of(ema=0.9)).trainer
    take(trainer, 5)
    model, state = load_training(trainer.saver.saved[-1])
    state.theta = np.broadcast_to(theta, state.theta.shape) if theta.ndim == 0 else theta
    save(tmp_path / "corrupted.npz", model, state)
    with pytest.raises(MinicharError, match="its training state does not match its model or is not finite"):
        load_training(Path(tmp_path / "corrupted.npz"))
