"""Lesson 1. One weight: the chain rule a line at a time, and a step downhill.

To learn, a network asks one question of each of its weights: if you were a little larger, by
how much would the loss change? The answer is the derivative of the loss by that weight, and
all fifteen lessons are about computing it. Here is the smallest network that has the question:
one input x, one weight w, and a target that its output y should meet.

    forward, downwards               backward, upwards

    a = w x                          dw = da · x
    y = tanh(a)                      da = dy · (1 - y²)
    loss = (y - target)²             dy = 2 (y - target)

We write `da` for "the derivative of the loss by a", and so for every letter. On the left each
line makes one new number out of the number above it. On the right each line undoes one line of
the left, beginning with the last, by the chain rule:

    derivative by what goes in  =  derivative by what comes out  ×  slope of this one line

Three lines, three slopes: of (y - target)² by y, it is 2 (y - target); of tanh(a) by a, it is
1 - tanh²(a) = 1 - y² (lesson 4 says why); of w x by w, it is x. A line of the backward pass
knows nothing of the rest of the network. It needs the number below it, and what its own line
left lying about on the way forward, here x, y and target. A network of a million weights is
walked back in just this way.

One thing more, on which everything recurrent rests. A weight that is used twice has two ways to
change the loss, and its derivative is the sum over both.

Then to learn: w ← w - η dw with a small η > 0, a step against the derivative, is downhill.
"""

from math import atanh, tanh

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.functions import tanh_slope
from minichar.engine.linear import Linear

w, x, target = 0.4, 1.2, 0.6
h = 1e-6  # a small push


def forward(w):
    a = w * x
    y = tanh(a)
    loss = (y - target) ** 2
    return a, y, loss


def backward(w):
    a, y, loss = forward(w)
    dy = 2 * (y - target)  # loss = (y - target)²
    da = dy * (1 - y * y)  # y = tanh(a)
    dw = da * x  # a = w x
    return dy, da, dw


def push(f, at):
    """The slope of f as a small push to both sides shows it."""
    return (f(at + h) - f(at - h)) / (2 * h)


def test_a_small_push_on_the_weight_changes_the_loss_by_dw_times_the_push():
    dy, da, dw = backward(w)
    assert push(lambda w: forward(w)[2], w) == pytest.approx(dw, rel=1e-8)


def test_each_backward_line_tells_of_a_push_on_one_number():
    a, y, loss = forward(w)
    dy, da, dw = backward(w)
    assert push(lambda y: (y - target) ** 2, y) == pytest.approx(dy, rel=1e-8)
    assert push(lambda a: (tanh(a) - target) ** 2, a) == pytest.approx(da, rel=1e-8)


def test_a_weight_that_is_used_twice_gets_the_sum_of_both_uses():
    def twice(first, second):
        return (tanh(second * tanh(first * x)) - target) ** 2

    # The loss by the weight of each use, as if they were two weights, and then by the one they are.
    y1 = tanh(w * x)
    y2 = tanh(w * y1)
    da2 = 2 * (y2 - target) * (1 - y2 * y2)
    dw_of_second_use = da2 * y1
    dy1 = da2 * w
    dw_of_first_use = dy1 * (1 - y1 * y1) * x
    assert push(lambda w: twice(w, 0.4), w) == pytest.approx(dw_of_first_use, rel=1e-8)
    assert push(lambda w: twice(0.4, w), w) == pytest.approx(dw_of_second_use, rel=1e-8)
    assert push(lambda w: twice(w, w), w) == pytest.approx(dw_of_first_use + dw_of_second_use, rel=1e-8)


def test_a_step_against_the_derivative_goes_downhill_and_a_step_along_it_uphill():
    dy, da, dw = backward(w)
    assert forward(w - 0.01 * dw)[2] < forward(w)[2] < forward(w + 0.01 * dw)[2]


def test_a_hundred_such_steps_find_the_weight_that_meets_the_target():
    learned = w
    for _ in range(100):
        learned -= 0.5 * backward(learned)[2]
    assert learned == pytest.approx(atanh(target) / x)


def test_the_engine_walks_back_the_same_way():
    """A linear layer of one weight (and a bias, left at 0), then the engine's slope of tanh."""
    dW, y, da = np.zeros((1, 2)), np.zeros((1, 1)), np.zeros((1, 1))
    layer = Linear(np.array([[w, 0.0]]), dW, T=1, B=1, backend=CPU)
    layer.x[0] = x
    np.tanh(layer.step(0), out=y)
    tanh_slope(np, y, out=da)
    layer.da[...] = 2 * (y - target) * da
    layer.keep(0)
    layer.weight_gradient(1)
    assert layer.da == pytest.approx(backward(w)[1])
    assert dW[0, 0] == pytest.approx(backward(w)[2])


EXERCISE = """
In tests/lessons/test_01_one_weight.py, in backward, change

    da = dy * (1 - y * y)  # y = tanh(a)

to

    da = dy * (1 - a * a)  # y = tanh(a)

which is wrong: it takes the slope from the wrong number. Before you run the lesson again, say
which tests will go red, and look out for those that stay green.
"""

ANSWER = """
Red are the tests that hold da and dw to something that knows the truth, a push or the engine:
test_a_small_push_on_the_weight_changes_the_loss_by_dw_times_the_push,
test_each_backward_line_tells_of_a_push_on_one_number and
test_the_engine_walks_back_the_same_way. The two about learning stay green! The wrong derivative
still has the right sign, so the steps still go downhill. A network with a wrong gradient often
learns, only less well, and nobody notices. That is why the next lesson is about checking.
"""
