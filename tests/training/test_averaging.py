import numpy as np
import pytest
from toys import losses_of, take, toy_settings

from minichar.checkpoints.checkpoint import load
from minichar.training.evaluation import Measurement, evaluate
from minichar.training.start import begin, resume


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
