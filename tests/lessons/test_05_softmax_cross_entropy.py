"""Lesson 5. Softmax with cross-entropy: why the gradient is p - onehot(target).

The network outputs one score per character, its *logit*. Softmax turns the logits into
probabilities. The loss is the negative logarithm of the probability of the target, the next
character in the text:

    p_k  = exp(logits_k) / Σ_j exp(logits_j)   each between 0 and 1; their sum is 1
    loss = -log p_target                       in nats; 0 if p_target is 1

[figure: softmax_cross_entropy]

There are two derivations. The long one proceeds line by line, as in lesson 1: first the logarithm,
then softmax, where every probability depends on every logit. [j = k] is 1 if j equals k, and 0
otherwise:

    dp_j      = -[j = target] / p_target
    dlogits_k = Σ_j dp_j · p_j ([j = k] - p_k)

The second line follows from the quotient rule. With e_k = exp(logits_k) and S = Σ_j e_j, the
derivative of p_j = e_j / S with respect to logits_k is

    p_j' = ([j = k] e_j S - e_j e_k) / S² = p_j ([j = k] - p_k)

Substitute the first line into the second. Only the term j = target remains, and p_target cancels:

    dlogits = p - onehot(target)               onehot(k) is 1 at k and 0 elsewhere

[figure: softmax.svg]

The short one shows why the result is so simple. Write the loss without a fraction,

    loss = log Σ_j exp(logits_j) - logits_target

and differentiate it: the first term gives exp(logits_k) / Σ_j exp(logits_j) = p_k, and the second
gives onehot(target). There is no division by a tiny p_target, and every entry is between -1 and 1.
A confident but wrong prediction gets the full gradient. (With a squared error on p, it would get
almost none, as a test below shows.)

The loss of a chunk is the mean over its N characters, which adds a factor of 1/N:

    dlogits = (p - onehot(target)) / N

In float64, exp(logits_k) overflows if a logit is above 709.8. However, adding a constant to all
logits changes neither p nor the loss. The engine therefore subtracts the largest logit first, so
that no exponential is larger than exp(0) = 1. Because the loss does not depend on what is
subtracted, no gradient passes through it. In the complex step (lesson 4), the engine subtracts the
largest real part.
"""

from math import exp, log

import numpy as np
import pytest

from minichar.engine.gradcheck import complex_step
from minichar.engine.readout import loss_backward, loss_forward

V, N = 5, 6
generator = np.random.default_rng(5)
logits = generator.normal(size=(V, N)) * 2  # one column per character
targets = generator.integers(V, size=N)


def softmax(logits):
    """Return the list of probabilities for a list of logits."""
    total = sum(exp(logit) for logit in logits)
    return [exp(logit) / total for logit in logits]


def long_derivation(logits, target):
    """Return the loss of one character and its gradient, computed via p."""
    p = softmax(logits)
    dp = [-1 / p[j] if j == target else 0.0 for j in range(V)]
    dlogits = [sum(dp[j] * p[j] * ((j == k) - p[k]) for j in range(V)) for k in range(V)]
    return -log(p[target]), dlogits


def p_minus_onehot(logits, target):
    """Return the list dlogits of one character for a list of logits and the id target."""
    return [p_k - (k == target) for k, p_k in enumerate(softmax(logits))]


def engine(logits, targets):
    value, cache = loss_forward(np, logits.copy(), targets, len(targets))  # forward overwrites its argument
    return value, loss_backward(np, cache)


def test_the_derivation_through_p_gives_p_minus_onehot():
    for scores, target in (([0.0, 1.0, -2.0, 0.5, 3.0], 1), ([-1.0, 0.0, 0.0, 4.0, 2.0], 3)):
        assert long_derivation(scores, target)[1] == pytest.approx(p_minus_onehot(scores, target))


def test_the_engine_computes_the_mean_loss_and_p_minus_onehot_over_N():
    value, dlogits = engine(logits, targets)
    one_by_one = [long_derivation(logits[:, j], targets[j]) for j in range(N)]
    assert float(value) == pytest.approx(np.mean([value for value, _ in one_by_one]))
    for j in range(N):
        np.testing.assert_allclose(dlogits[:, j], np.divide(one_by_one[j][1], N), atol=1e-15)


def test_the_complex_step_agrees_to_the_last_digit():
    def mean_loss(theta):
        return complex(loss_forward(np, theta.reshape(V, N).copy(), targets, N)[0])

    reference = complex_step(mean_loss, logits.reshape(-1)).reshape(V, N)
    np.testing.assert_allclose(engine(logits, targets)[1], reference, rtol=0, atol=1e-15)


def test_adding_a_constant_to_all_logits_changes_nothing():
    """It follows that each column of the gradient sums to 0."""
    np.testing.assert_allclose(engine(logits + 100, targets)[1], engine(logits, targets)[1], atol=1e-14)
    np.testing.assert_allclose(engine(logits, targets)[1].sum(axis=0), 0, atol=1e-15)


def test_uniform_logits_have_a_loss_of_ln_V():
    assert float(engine(np.zeros((V, N)), targets)[0]) == pytest.approx(log(V))


def test_a_confident_wrong_prediction_gets_the_full_gradient_but_almost_none_with_a_squared_error():
    scores, target = [20.0, 0.0, 0.0, 0.0, 0.0], 1
    p = softmax(scores)
    assert p_minus_onehot(scores, target)[target] == pytest.approx(-1.0)
    dp = [2 * (p[j] - (j == target)) for j in range(V)]  # gradient of Σ (p - onehot)²
    squared = [sum(dp[j] * p[j] * ((j == k) - p[k]) for j in range(V)) for k in range(V)]
    assert max(map(abs, squared)) < 1e-7


def test_huge_logits_do_not_overflow():
    value, dlogits = engine(np.array([[1000.0], [0.0], [-1000.0]]), np.array([1]))
    assert float(value) == 1000.0
    np.testing.assert_array_equal(dlogits[:, 0], [1.0, -1.0, 0.0])


WRITE = ("softmax", "p_minus_onehot")

EXERCISE = """
In minichar/engine/readout.py, in loss_backward, change

    xp.put(p, at, p.take(at) - 1.0)

to

    xp.put(p, at, p.take(at) * 1.0)

onehot(target) is no longer subtracted. What would a step against this gradient do to the logits?
Which gradient test still passes?
"""

ANSWER = """
It would lower every logit in proportion to its probability, including the target's. The gradient no
longer depends on which character was correct. These tests fail:
test_the_engine_computes_the_mean_loss_and_p_minus_onehot_over_N,
test_the_complex_step_agrees_to_the_last_digit, test_adding_a_constant_to_all_logits_changes_nothing
(its second assertion) and test_huge_logits_do_not_overflow. The test of the derivation through p
still passes, because it uses the loops in this lesson instead of the engine, and so does the test of the
confident wrong prediction.
"""
