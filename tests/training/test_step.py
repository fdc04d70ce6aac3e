"""Tests for a single training step: the clipping scale and the loss sum."""

import numpy as np
from toys import toy_model

from minichar.devices.cpu import CPU
from minichar.training.settings import Settings
from minichar.training.step import TrainingStep

T, B = 8, 3


def step_of(model, **settings):
    step = TrainingStep(model, T, B, Settings(**{"learning_rate": 8e-3, "weight_decay": 0.0, **settings}))
    ids = np.random.default_rng(1).integers(len(model.vocabulary), size=(T + 1, B))
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
