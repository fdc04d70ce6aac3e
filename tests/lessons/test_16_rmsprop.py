"""Lesson 16. RMSprop in a ravine: a step size for every weight.

The gradient is correct, but how large should a step be? Plain gradient descent has one learning
rate η for all weights:

    θ ← θ - η g

Consider a *ravine*, a loss that is steep in one direction and flat in the other:

    loss = ½ (100 θ₁² + θ₂²)         g = (100 θ₁, θ₂)

[figure: rmsprop]

In the steep direction, a step multiplies θ₁ by 1 - 100 η. With η > 0.02, that factor is below -1,
and θ₁ oscillates with growing amplitude. In the flat direction, a step multiplies θ₂ by 1 - η, so
with η = 0.02 it takes more than 50 steps to reduce θ₂ to a third of its value. The steepest
direction limits the learning rate for all weights, and the more the curvatures differ, the slower
the training.

[figure: ravine.svg]

*RMSprop* (Tieleman & Hinton 2012) divides each weight's gradient by its typical size, the square
root of a running mean of its square:

    m ← α m + (1 - α) g∘g            with m initialised to 0, and α = 0.95
    θ ← θ - η g / (√m + ε)           where ε = 1e-8 avoids a division by 0

If g is constant, m approaches g², and the step size approaches η, however large g is. All weights
therefore move at the same speed, in steep and flat directions alike, and scaling the loss does not
change the path. This has two consequences. First, η is now a *distance*: how far a weight moves in
one step, 0.02 by default for an LSTM with 128 units on a long text. Second, the weights do not
settle. Near a minimum, g is small, m decays, and the steps grow back to about η and overshoot. For
this reason, η should decrease over time (`--learning-rate-decay`), or the weights should be
averaged (`--ema`, the default).

The first steps are longer than the others. With a constant g, m is (1 - αᵏ) g² after k steps, so
step k is η/√(1 - αᵏ) long: with α = 0.95, 4.5 η at k = 1 and 1.6 η at k = 10. Adam corrects for
this. Torch's RMSprop, which char-rnn uses, does not, and neither does minichar. Instead, by
default, the learning rate is very low at first and increases linearly over 200 steps or, in a short
run, over the first tenth of the steps (`--warmup`).

However large g is, η/√(1 - α) is the longest step. Clipping (lesson 10) is still useful, because
after one huge gradient, m is so large that the next steps are tiny.
"""

from math import sqrt

import numpy as np
import pytest

from minichar.engine.parameters import Parameters
from minichar.training import optimiser

START = np.array([1.0, 1.0])
SLOPES = np.array([100.0, 1.0])


def gradient(theta, scale=1.0):
    return scale * SLOPES * theta


def gradient_descent(steps, rate):
    theta = START.copy()
    for _ in range(steps):
        theta = theta - rate * gradient(theta)
    return theta


def by_hand(steps, rate, alpha=0.95):
    """Return θ ``(steps, 2)`` after each step of RMSprop from START, with η = rate and α = alpha."""
    theta, m = [*START], [0.0, 0.0]
    path = []
    for _ in range(steps):
        g = gradient(np.array(theta))
        for j in range(2):
            m[j] = alpha * m[j] + (1 - alpha) * g[j] ** 2
            theta[j] = theta[j] - rate * g[j] / (sqrt(m[j]) + 1e-8)
        path.append(list(theta))
    return np.array(path)


def optimiser_and_parameters(alpha=0.95):
    parameters = Parameters({"theta": (2,)}, "float64")
    return optimiser.RMSprop(parameters, alpha), parameters.flat


def engine(steps, rate, scale=1.0):
    rmsprop, theta = optimiser_and_parameters()
    theta[...] = START
    path = []
    for _ in range(steps):
        rmsprop.step(gradient(theta, scale), rate)
        path.append(theta.copy())
    return np.array(path)


def test_gradient_descent_oscillates_and_diverges_if_the_learning_rate_is_too_large():
    assert abs(gradient_descent(50, rate=0.021)[0]) > 100


def test_gradient_descent_is_slow_in_the_flat_direction_if_the_learning_rate_is_small_enough():
    steep, flat = gradient_descent(50, rate=0.01)
    assert steep == pytest.approx(0.0)
    assert flat == pytest.approx(0.99**50)  # 0.6: hardly any progress


def test_rmsprop_descends_in_both_directions_at_the_same_speed():
    path = engine(100, rate=0.01)
    np.testing.assert_allclose(path[:, 0], path[:, 1], rtol=1e-6)
    assert path[-1].max() < 0.1 < 0.3 < gradient_descent(100, rate=0.01)[1]


def test_the_engine_agrees_with_the_loop_above():
    np.testing.assert_allclose(engine(50, rate=0.01), by_hand(50, rate=0.01), rtol=1e-12)


def test_a_loss_a_thousand_times_larger_gives_the_same_path():
    np.testing.assert_allclose(engine(50, rate=0.01, scale=1000.0), engine(50, rate=0.01), rtol=1e-5)


def test_the_first_step_is_longer_by_one_over_the_root_of_one_minus_alpha():
    np.testing.assert_allclose(START - engine(1, rate=0.01)[0], 0.01 / sqrt(1 - 0.95), rtol=1e-6)


def test_with_a_constant_gradient_the_step_approaches_the_learning_rate():
    rmsprop, theta = optimiser_and_parameters()
    for _ in range(300):
        before = theta.copy()
        rmsprop.step(np.array([1e-3, -50.0]), 0.01)
    np.testing.assert_allclose(theta - before, [-0.01, 0.01], rtol=1e-4)


def test_a_zero_gradient_changes_nothing_and_causes_no_division_by_zero():
    rmsprop, theta = optimiser_and_parameters()
    with np.errstate(all="raise"):
        rmsprop.step(np.zeros(2), 0.01)
    np.testing.assert_array_equal(theta, [0.0, 0.0])


def test_rmsprop_does_not_settle_at_the_minimum():
    steep = abs(engine(400, rate=0.01)[:, 0])
    assert steep[200:300].min() < 1e-9
    assert steep[300:].max() > 0.005


WRITE = ("by_hand",)

EXERCISE = """
In minichar/training/optimiser.py, in RMSprop.rmsprop, change

    theta -= g / (xp.sqrt(m) + EPSILON) * learning_rate

to

    theta -= g / (m + EPSILON) * learning_rate

This omits the square root. Consider the units of g, m and θ. How would a loss that is a thousand
times larger affect the steps now? Then run the tests.
"""

ANSWER = """
g/m has the units of 1/g, so a loss that is a thousand times larger makes the steps a thousand
times shorter. These tests fail: test_rmsprop_descends_in_both_directions_at_the_same_speed,
test_the_engine_agrees_with_the_loop_above,
test_a_loss_a_thousand_times_larger_gives_the_same_path,
test_the_first_step_is_longer_by_one_over_the_root_of_one_minus_alpha,
test_with_a_constant_gradient_the_step_approaches_the_learning_rate and
test_rmsprop_does_not_settle_at_the_minimum.
"""
