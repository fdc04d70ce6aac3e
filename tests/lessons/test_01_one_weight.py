"""Lesson 1. One weight: the chain rule line by line, and a step downhill.

A network is a formula with numbers in it, its *weights*; training adjusts them until the loss is
small. It asks one question about every weight: if this weight were slightly larger, how much would
the loss change? The answer is the derivative of the loss with respect to the weight, and almost all
of this course is about computing it.

Letters and -log p return in lesson 5. Until then, the output is one number, and the loss is its
squared distance from a target. Start with the smallest possible network: one input x, one weight w,
and a target for its output y. It uses tanh, an S-shaped function with values between -1 and 1.

[figure: one_weight]

    forward (read down)              backward (read up)

    a = w x                          dw = da · x
    y = tanh(a)                      da = dy · (1 - y²)
    loss = (y - target)²             dy = 2 (y - target)

`da` is short for "the derivative of the loss with respect to a", and likewise for the other
variables. Each line on the left computes a new value from the line above it. Each line on the right
differentiates the line beside it, starting at the bottom with dloss = 1, the derivative of the loss
with respect to itself. This is the chain rule: the derivative with respect to a line's input is the
derivative with respect to its output times the *local derivative*, that of the output with respect
to the input. It is 2 (y - target) for the loss, 1 - tanh²(a) = 1 - y² for tanh (lesson 3 derives
it), and x for w x as a function of w.

Each line of the backward pass needs only two things: the derivative from the line below it, and
values from the forward pass (here x, y and target). It does not depend on the rest of the network,
so you differentiate a network with a million weights in exactly the same way.

Here are both passes for w = 0.4, x = 1.2 and target = 0.6, computed in full precision and rounded
to four decimal places:

    a = w x = 0.4800
    y = tanh(a) = 0.4462
    loss = (y - target)² = 0.0236

    dy = 2 (y - target) = -0.3075
    da = dy · (1 - y²) = -0.2463
    dw = da · x = -0.2955

[figure: one_weight.svg]

To check dw, increase w by 0.01. The loss falls to 0.0208, a change of -0.0028. dw predicts
-0.2955 · 0.01 = -0.0030. The two differ because the slope changes along the way; a smaller step
reduces the difference.

Recurrent networks need one more rule. If a weight is used twice, it affects the loss along two
paths, and its derivative is the sum over both. Let y = tanh(w tanh(w x)), with the same numbers as
above, and give every value a name:

    forward (read down)              backward (read up)

    a_1 = w x                        dw = da_2 y_1 + da_1 x
    y_1 = tanh(a_1)                  da_1 = dy_1 (1 - y_1²)
    a_2 = w y_1                      dy_1 = da_2 w
    y_2 = tanh(a_2)                  da_2 = dy_2 (1 - y_2²)
    loss = (y_2 - target)²           dy_2 = 2 (y_2 - target)

In the third line, w is multiplied by y_1, so this use contributes da_2 y_1. In the first, it is
multiplied by x and contributes da_1 x. With y_1 = 0.4462 and y_2 = 0.1766, the backward pass is

    dy_2 = 2 (y_2 - target) = -0.8467
    da_2 = dy_2 (1 - y_2²) = -0.8203
    dy_1 = da_2 w = -0.3281
    da_1 = dy_1 (1 - y_1²) = -0.2628
    dw = da_2 y_1 + da_1 x
       = -0.3661 - 0.3153 = -0.6814

Training repeats the update w ← w - η dw, a small step downhill. The factor η > 0 is the learning
rate. With η = 0.5, one step takes w from 0.4 to 0.5478, and the loss falls from 0.0236 to 0.0005.
"""

from math import atanh, tanh

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine import rnn
from minichar.engine.linear import Linear

w, x, target = 0.4, 1.2, 0.6
h = 1e-6  # a small change


def forward(w):
    """Return a, y and the loss for the weight w."""
    a = w * x
    y = tanh(a)
    loss = (y - target) ** 2
    return a, y, loss


def backward(w):
    """Return dy, da and dw for the weight w."""
    a, y, loss = forward(w)
    dy = 2 * (y - target)  # loss = (y - target)²
    da = dy * (1 - y * y)  # y = tanh(a)
    dw = da * x  # a = w x
    return dy, da, dw


def twice_backward(w):
    """Return y_1 and y_2 of y = tanh(w tanh(w x)), and dy_2, da_2, dy_1 and da_1."""
    y_1 = tanh(w * x)
    y_2 = tanh(w * y_1)
    dy_2 = 2 * (y_2 - target)
    da_2 = dy_2 * (1 - y_2 * y_2)
    dy_1 = da_2 * w
    da_1 = dy_1 * (1 - y_1 * y_1)
    return y_1, y_2, dy_2, da_2, dy_1, da_1


def slope(f, at):
    """Return the derivative of f, measured with a small change in each direction."""
    return (f(at + h) - f(at - h)) / (2 * h)


def test_the_worked_example_matches_the_code():
    a, y, loss = forward(w)
    dy, da, dw = backward(w)
    changed, after = forward(w + 0.01)[2], w - 0.5 * dw
    y_1, y_2, dy_2, da_2, dy_1, da_1 = twice_backward(w)
    first, second = da_1 * x, da_2 * y_1
    for words in (
        f"    a = w x = {a:.4f}\n    y = tanh(a) = {y:.4f}\n    loss = (y - target)² = {loss:.4f}\n",
        f"    dy = 2 (y - target) = {dy:.4f}\n    da = dy · (1 - y²) = {da:.4f}\n",
        f"    dw = da · x = {dw:.4f}\n",
        f"falls to {changed:.4f}, a change of {changed - loss:.4f}. dw predicts",
        f"from {w} to {after:.4f}, and the loss falls from {loss:.4f} to {forward(after)[2]:.4f}.",
        f"With y_1 = {y_1:.4f} and y_2 = {y_2:.4f}, ",
        f"    dy_2 = 2 (y_2 - target) = {dy_2:.4f}\n    da_2 = dy_2 (1 - y_2²) = {da_2:.4f}\n",
        f"    dy_1 = da_2 w = {dy_1:.4f}\n    da_1 = dy_1 (1 - y_1²) = {da_1:.4f}\n",
        f"    dw = da_2 y_1 + da_1 x\n       = {second:.4f} - {-first:.4f} = {first + second:.4f}\n",
    ):
        assert words in __doc__


def test_a_small_change_in_the_weight_changes_the_loss_by_dw_times_that_change():
    dy, da, dw = backward(w)
    assert slope(lambda w: forward(w)[2], w) == pytest.approx(dw, rel=1e-8)


def test_each_backward_line_is_the_derivative_with_respect_to_one_value():
    a, y, loss = forward(w)
    dy, da, dw = backward(w)
    assert slope(lambda y: (y - target) ** 2, y) == pytest.approx(dy, rel=1e-8)
    assert slope(lambda a: (tanh(a) - target) ** 2, a) == pytest.approx(da, rel=1e-8)


def test_the_derivative_of_a_weight_used_twice_is_the_sum_over_both_uses():
    def twice(first, second):
        return (tanh(second * tanh(first * x)) - target) ** 2

    # Use separate weights first, then one shared weight.
    y_1, _, _, da_2, _, da_1 = twice_backward(w)
    dw_first, dw_second = da_1 * x, da_2 * y_1
    assert slope(lambda w: twice(w, 0.4), w) == pytest.approx(dw_first, rel=1e-8)
    assert slope(lambda w: twice(0.4, w), w) == pytest.approx(dw_second, rel=1e-8)
    assert slope(lambda w: twice(w, w), w) == pytest.approx(dw_first + dw_second, rel=1e-8)


def test_a_step_against_the_derivative_lowers_the_loss_and_a_step_along_it_raises_it():
    dy, da, dw = backward(w)
    assert forward(w - 0.01 * dw)[2] < forward(w)[2] < forward(w + 0.01 * dw)[2]


def test_a_hundred_steps_find_the_weight_that_reaches_the_target():
    trained = w
    for _ in range(100):
        trained -= 0.5 * backward(trained)[2]
    assert trained == pytest.approx(atanh(target) / x)


def test_the_engine_computes_the_same_gradients():
    """Run a linear layer with one weight and a bias of 0, followed by the RNN's tanh."""
    dW = np.zeros((1, 2))
    layer = Linear(np.array([[w, 0.0]]), dW, gates=1, H=0, T=1, B=1, backend=CPU)
    layer.x[0] = x
    a = layer.step(0)
    y, cache = rnn.forward(np, a)
    (da,) = rnn.backward(np, 2 * (y - target), cache)
    layer.da[0] = da[0]
    layer.gradients(slice(0, 1), 1, ids=None)
    assert da[0] == pytest.approx(backward(w)[1])
    assert dW[0, 0] == pytest.approx(backward(w)[2])


WRITE = ("forward", "backward")

EXERCISE = """
In tests/lessons/test_01_one_weight.py, in backward, change

    da = dy * (1 - y * y)  # y = tanh(a)

to

    da = dy * (1 - a * a)  # y = tanh(a)

The derivative now uses the wrong value. Before you run the lesson again, predict which tests will
fail. Note which ones still pass.
"""

ANSWER = """
The following tests fail, because they compare da and dw with the worked example, with a numerical
derivative or with the engine: test_the_worked_example_matches_the_code,
test_a_small_change_in_the_weight_changes_the_loss_by_dw_times_that_change,
test_each_backward_line_is_the_derivative_with_respect_to_one_value and
test_the_engine_computes_the_same_gradients.

The test of a weight used twice still passes, because it does not call `backward`, and so do the two
training tests. The wrong derivative has the right sign, so each step still lowers the loss. A network
with a wrong gradient often still trains, just not as well, and the mistake goes unnoticed. That is why
the next lesson is about checking gradients.
"""
