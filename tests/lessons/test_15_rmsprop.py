"""Lesson 15. RMSprop on a ravine: each weight a step of its own size.

The gradient is right. How long a step should be taken along it? Plain descent has one η for all:

    θ ← θ - η g

Try it in a *ravine*, a loss that is steep across and flat along:

    loss = ½ (s u² + v²)             g = (s u, v)              with s = 100

Across, a step makes u ← (1 - ηs) u: it must be that η < 2/s, or u swings out further every time.
Along, v ← (1 - η) v: with such an η it takes some s/2 steps to make v a third. The steepest weight
dictates the pace of all, and the more they differ, the slower.

*RMSprop* (Tieleman & Hinton 2012) divides each weight's gradient by the size that it usually has,
the root of a running mean of its square:

    m ← α m + (1 - α) g∘g            m starts at 0; α = 0.95
    θ ← θ - η g / (√m + ε)           ε = 1e-8: no division by 0

If g is always c, then m → c², and the step is η, with the sign of c and whatever the size of c.
So every weight moves at the same pace, steep or flat, and the loss times 1000 is the same path. Two
consequences. Now η is a *distance*: how far a weight goes in a step, 0.002 by default. And it does
not settle. At the minimum g is small, m forgets that it ever was large, the steps grow back to the
size of η and throw the weight out again. So η is lowered with time (`--learning-rate-decay`).

The start is a stumble. After the first step m is (1 - α) g² and not g², so that step is η/√(1 - α),
4.5 times η with α = 0.95. Adam would correct for it. Torch's RMSprop, char-rnn's, does not, and
minichar follows it.
"""

from math import sqrt

import numpy as np
import pytest

from minichar.engine.parameters import Parameters
from minichar.training.optimiser import RMSprop

START = np.array([1.0, 1.0])  # u, v
SLOPES = np.array([100.0, 1.0])  # s and 1


def gradient(theta, scale=1.0):
    return scale * SLOPES * theta


def plain_descent(steps, rate):
    theta = START.copy()
    for _ in range(steps):
        theta = theta - rate * gradient(theta)
    return theta


def by_hand(steps, rate, alpha=0.95):
    """RMSprop, one weight at a time: every place it has been in."""
    theta, m = [*START], [0.0, 0.0]
    places = []
    for _ in range(steps):
        g = gradient(np.array(theta))
        for j in range(2):
            m[j] = alpha * m[j] + (1 - alpha) * g[j] ** 2
            theta[j] = theta[j] - rate * g[j] / (sqrt(m[j]) + 1e-8)
        places.append(list(theta))
    return np.array(places)


def engine(steps, rate, alpha=0.95, scale=1.0):
    parameters = Parameters({"theta": (2,)}, "float64")
    parameters.flat[...] = START
    rmsprop = RMSprop(parameters, alpha)
    places = []
    for _ in range(steps):
        rmsprop.step(gradient(parameters.flat, scale), rate)
        places.append(parameters.flat.copy())
    return np.array(places)


def test_plain_descent_swings_out_of_the_ravine_when_the_step_is_too_long():
    assert abs(plain_descent(50, rate=0.021)[0]) > 100


def test_plain_descent_crawls_along_it_when_the_step_is_short_enough():
    u, v = plain_descent(50, rate=0.01)
    assert u == pytest.approx(0.0)
    assert v == pytest.approx(0.99**50)  # 0.6: hardly under way


def test_rmsprop_goes_down_both_at_the_same_pace():
    places = engine(100, rate=0.01)
    np.testing.assert_allclose(places[:, 0], places[:, 1], rtol=1e-6)
    assert places[-1].max() < 0.1 < 0.3 < plain_descent(100, rate=0.01)[1]


def test_the_engine_takes_the_steps_of_the_loop_above():
    np.testing.assert_allclose(engine(50, rate=0.01), by_hand(50, rate=0.01), rtol=1e-12)


def test_a_loss_a_thousand_times_larger_makes_the_same_path():
    np.testing.assert_allclose(engine(50, rate=0.01, scale=1000.0), engine(50, rate=0.01), rtol=1e-5)


def test_the_first_step_is_longer_by_one_over_the_root_of_one_minus_alpha():
    np.testing.assert_allclose(START - engine(1, rate=0.01)[0], 0.01 / sqrt(1 - 0.95), rtol=1e-6)


def test_under_a_gradient_that_stays_the_same_the_step_becomes_the_learning_rate():
    parameters = Parameters({"theta": (2,)}, "float64")
    rmsprop = RMSprop(parameters, 0.95)
    for _ in range(300):
        before = parameters.flat.copy()
        rmsprop.step(np.array([1e-3, -50.0]), 0.01)
    np.testing.assert_allclose(parameters.flat - before, [-0.01, 0.01], rtol=1e-4)


def test_where_the_gradient_is_zero_nothing_moves_and_nothing_is_divided_by_zero():
    parameters = Parameters({"theta": (2,)}, "float64")
    with np.errstate(all="raise"):
        RMSprop(parameters, 0.95).step(np.zeros(2), 0.01)
    np.testing.assert_array_equal(parameters.flat, [0.0, 0.0])


def test_it_does_not_settle_at_the_minimum_but_is_thrown_out_again():
    u = abs(engine(400, rate=0.01)[:, 0])
    assert u[200:300].min() < 1e-9
    assert u[300:].max() > 0.005


EXERCISE = """
In minichar/training/rmsprop.py, in step, change

    xp.sqrt(m, out=scratch)

to

    xp.multiply(m, 1.0, out=scratch)

so that the root is forgotten. Think of the units of g, m and θ: what would a loss a thousand times
larger do now? Then see what goes red.
"""

ANSWER = """
g/m has the unit of 1/g: a loss a thousand times larger would make steps a thousand times shorter. Red
are test_rmsprop_goes_down_both_at_the_same_pace,
test_the_engine_takes_the_steps_of_the_loop_above,
test_a_loss_a_thousand_times_larger_makes_the_same_path,
test_the_first_step_is_longer_by_one_over_the_root_of_one_minus_alpha,
test_under_a_gradient_that_stays_the_same_the_step_becomes_the_learning_rate and
test_it_does_not_settle_at_the_minimum_but_is_thrown_out_again.
"""
