"""Lesson 5. Softmax with cross-entropy: why the gradient is p - y.

The network ends in one score for each character it knows, its *logits* a. Softmax makes
probabilities of them; the loss is the surprise at the character that really came, the target:

    p_k  = exp(a_k) / Σ_j exp(a_j)              all between 0 and 1, and they sum to 1
    loss = -log p_target                        in nats; 0 if the model was certain, and right

The long way back goes through p, as lesson 1 would. One line undoes the logarithm. The next
undoes softmax, in which every logit changes every probability:

    dp_j = -1 / p_target    for j = target, else 0
    da_k = Σ_j dp_j · p_j ([j = k] - p_k)               [j = k] is 1 if so, else 0

since the slope of p_j by a_k is p_j ([j = k] - p_k), by the rule for quotients. Put the first
into the second: only j = target remains, and the two p_target cancel.

    da_k = p_k - [target = k]          or, with y the vector that is 1 at the target:    da = p - y

The short way says why it is so plain. Write the loss without a fraction,

    loss = log Σ_j exp(a_j) - a_target

and take the slope: of the first term it is p_k, of the second [target = k]. There is no division by
a tiny p_target, nothing can overflow, and no entry is ever outside -1 … 1. Certain and wrong, the
network is pushed with full force. (A squared error of p is pushed by almost nothing there; a test
below shows it. The logarithm undoes just what the exponential saturates.)

A chunk has n·B characters and the loss is their mean, so there is one more factor: (p - y) / (n·B).

Adding the same number to all logits changes no p. So the engine first takes off the largest, and
exp(0) = 1 is the largest exponential that there is.
"""

from math import exp, log

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.gradcheck import complex_step
from minichar.engine.loss import SoftmaxCrossEntropy

T, V, B = 3, 5, 2
generator = np.random.default_rng(5)
logits = generator.normal(size=(T, V, B)) * 2  # (T, V, B)
targets = generator.integers(V, size=(T, B))  # (T, B)


def softmax(a):
    total = sum(exp(a_j) for a_j in a)
    return [exp(a_j) / total for a_j in a]


def the_long_way(a, target):
    """The loss of one character and its gradient, through p."""
    p = softmax(a)
    dp = [-1 / p[j] if j == target else 0.0 for j in range(V)]
    da = [sum(dp[j] * p[j] * ((j == k) - p[k]) for j in range(V)) for k in range(V)]
    return -log(p[target]), da


def p_minus_y(a, target):
    return [p_k - (k == target) for k, p_k in enumerate(softmax(a))]


def engine(logits, targets, dtype="float64"):
    n, V, B = logits.shape
    loss = SoftmaxCrossEntropy(V, n, B, dtype, CPU)
    return loss.forward(logits, targets), loss.backward()


def test_the_long_way_through_p_ends_at_p_minus_y():
    for a, target in (([0.0, 1.0, -2.0, 0.5, 3.0], 1), ([-1.0, 0.0, 0.0, 4.0, 2.0], 3)):
        assert the_long_way(a, target)[1] == pytest.approx(p_minus_y(a, target))


def test_the_engine_has_the_mean_loss_of_all_characters_and_p_minus_y_over_their_number():
    loss, dlogits = engine(logits, targets)
    each = [[the_long_way(logits[t, :, b], targets[t, b]) for b in range(B)] for t in range(T)]
    assert float(loss) == pytest.approx(np.mean([[one[0] for one in row] for row in each]))
    for t in range(T):
        for b in range(B):
            np.testing.assert_allclose(dlogits[t, :, b], np.divide(each[t][b][1], T * B), atol=1e-15)


def test_the_complex_step_agrees_to_the_last_digit():
    def loss(theta):
        return complex(engine(theta.reshape(logits.shape), targets, "complex128")[0])

    reference = complex_step(loss, logits.reshape(-1)).reshape(logits.shape)
    np.testing.assert_allclose(engine(logits, targets)[1], reference, rtol=0, atol=1e-15)


def test_a_push_on_all_logits_at_once_is_no_push():
    """So the entries of the gradient sum to 0."""
    np.testing.assert_allclose(engine(logits + 100, targets)[1], engine(logits, targets)[1], atol=1e-14)
    np.testing.assert_allclose(engine(logits, targets)[1].sum(axis=1), 0, atol=1e-15)


def test_a_model_that_knows_nothing_loses_ln_V():
    assert float(engine(np.zeros((T, V, B)), targets)[0]) == pytest.approx(log(V))


def test_certain_and_wrong_is_pushed_with_full_force_where_a_squared_error_is_not_pushed_at_all():
    a, target = [20.0, 0.0, 0.0, 0.0, 0.0], 1
    p = softmax(a)
    assert p_minus_y(a, target)[target] == pytest.approx(-1.0)
    dp = [2 * (p[j] - (j == target)) for j in range(V)]  # of Σ (p - y)²
    squared = [sum(dp[j] * p[j] * ((j == k) - p[k]) for j in range(V)) for k in range(V)]
    assert max(map(abs, squared)) < 1e-7


def test_no_logit_is_too_large():
    loss, dlogits = engine(np.array([[[1000.0], [0.0], [-1000.0]]]), np.array([[1]]))
    assert float(loss) == 1000.0
    np.testing.assert_array_equal(dlogits[0, :, 0], [1.0, -1.0, 0.0])


EXERCISE = """
In minichar/engine/loss.py, in backward, change

    xp.divide(dlogits, self.targets.size, out=dlogits)

to

    xp.divide(dlogits, len(dlogits), out=dlogits)

so that it divides by the T steps, but not by the B sequences. The direction of the gradient is
still right. Which tests see it, and which change to the training would have the same effect?
"""

ANSWER = """
test_the_engine_has_the_mean_loss_of_all_characters_and_p_minus_y_over_their_number and
test_the_complex_step_agrees_to_the_last_digit: the gradient is B times too long. With plain
descent that would be a learning rate B times higher. (RMSprop would not notice: lesson 15.)
"""
