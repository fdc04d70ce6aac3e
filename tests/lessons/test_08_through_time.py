"""Lesson 8. Through time: a single backward pass sums over all paths.

A letter read 100 steps ago shares the blame for the current wrong guess. How much? Repeat the RNN
step (lesson 7) T times, each step starting from the previous state and followed by a loss.
*Unrolled*, this is a network of T layers that all share the same weights. For a single unit, with a
weight w_h for the state and a weight w_x for the input, it is

[figure: unrolled_unit.svg]

    h_t  = tanh(w_h h_{t-1} + w_x x_t)
    loss = L_1 + … + L_T

The fraction dL_t/dh_t is the derivative of L_t alone with respect to h_t. Without a fraction, dh_t
is the derivative of the whole loss, as in lesson 1. Every step s uses w_h, and the state h_s
affects the loss of step s and of all later steps t. With one unit, there is one path for each pair
s ≤ t, so there are T(T + 1)/2 in total. (With H units, a path can pass through any of them at each
step, so the number of paths grows exponentially.)

    dw_h = Σ_t Σ_{s≤t}  dL_t/dh_t · dh_t/dh_s · (1 - h_s²) h_{s-1}

where dh_t/dh_s is the product of w_h (1 - h_r²) over the steps r = s+1 … t, and 1 if t = s. The
rest, (1 - h_s²) h_{s-1}, is the derivative of h_s with respect to w_h with h_{s-1} held fixed.

You do not have to add up the paths one by one: with T = 100 there are 5,050 paths, but only 100
steps. The loss depends on h_t in two ways, through L_t and through the next state, so dh_t is a sum
of two terms. Start at the last step, where the second term is 0:

    dh_t  = dL_t/dh_t + w_h da_{t+1}         at the last step, only dL_T/dh_T
    da_t  = dh_t (1 - h_t²)
    dw_h += da_t h_{t-1}                     dw_x += da_t x_t

with dw_h and dw_x initialised to 0.

[figure: through_time]

For T = 3, the term of step 2 contains two paths, to L_2 and to L_3,

    da_2 h_1 = (dL_2/dh_2 + dL_3/dh_3 (1 - h_3²) w_h) (1 - h_2²) h_1

and so on: da_s h_{s-1} is the sum of all terms of step s, and T steps sum over all paths. This is
*backpropagation through time*, or BPTT (Werbos 1990). With H units, the same three lines are

    dh_t = dL_t/dh_t + W_hᵀ @ da_{t+1}
    da_t = dh_t ∘ (1 - h_t ∘ h_t)
    dW  += da_t @ [h_{t-1}; x_t; 1]ᵀ

[figure: unrolled.svg]

When layers are stacked, the first term comes from the layer above: it is that layer's dx.

Here is a forward pass over three steps with w_h = 0.8, w_x = 0.5 and h_0 = 0.3, rounded to four
decimal places. The second column is the input, and a_t is w_h h_{t-1} + w_x x_t:

    t    x_t      a_t      h_t
    1    0.9   0.6900   0.5980
    2   -0.4   0.2784   0.2714
    3    0.7   0.5671   0.5132

The backward pass starts at the last step. The gradients in the second column are given:

    t   dL_t/dh_t   w_h da_{t+1}     dh_t     da_t   da_t h_{t-1}   da_t x_t
    3         1.0         0.0000   1.0000   0.7366         0.1999     0.5156
    2        -0.2         0.5893   0.3893   0.3606         0.2156    -0.1442
    1         0.7         0.2885   0.9885   0.6350         0.1905     0.5715

    dw_h = 0.1999 + 0.2156 + 0.1905 = 0.6060
    dw_x = 0.5156 - 0.1442 + 0.5715 = 0.9429

[figure: through_time.svg]

Now compare this with the six paths. Each number is the effect of w_h at one step on one loss:

    loss    step 1    step 2   step 3
    L_1     0.1349    0.0000   0.0000
    L_2    -0.0286   -0.1108   0.0000
    L_3     0.0842    0.3264   0.1999

The columns add up to 0.1905, 0.2156 and 0.1999. These sums are the three terms of dw_h above.
"""

from itertools import pairwise
from math import prod, tanh

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, toy_network
from minichar.engine.layer import Layer
from minichar.engine.rnn import RNN

w_h, w_x, h_0 = 0.8, 0.5, 0.3
x = [0.9, -0.4, 0.7]  # x[t - 1] is x_t
dh_above = [0.7, -0.2, 1.0]  # dh_above[t - 1] is dL_t/dh_t, because L_t is dh_above[t - 1] h_t
T = len(x)


def states(w_h, w_x):
    h = [h_0]
    for x_t in x:
        h.append(tanh(w_h * h[-1] + w_x * x_t))
    return h


def loss(w_h, w_x):
    return sum(d * h for d, h in zip(dh_above, states(w_h, w_x)[1:], strict=True))


def slope_of_state(h, t, s):
    """Return dh_t/dh_s for s ≤ t. h are the states, from ``h[0]`` to ``h[T]``."""
    return prod(w_h * (1 - h[r] ** 2) for r in range(s + 1, t + 1))


def path(h, t, s):
    """Return the term of dw_h for the loss of step t and the use of w_h at step s, given h: 0 if s > t."""
    return dh_above[t - 1] * slope_of_state(h, t, s) * (1 - h[s] ** 2) * h[s - 1] if s <= t else 0.0


def path_by_path():
    """Return dw_h as the sum over all pairs s ≤ t."""
    h, steps = states(w_h, w_x), range(1, T + 1)
    return sum(path(h, t, s) for t in steps for s in steps)


def one_pass():
    """Return dw_h and dw_x."""
    h, dw_h, dw_x, da = states(w_h, w_x), 0.0, 0.0, 0.0
    for t in range(T, 0, -1):
        dh = dh_above[t - 1] + w_h * da  # da is from step t+1, or 0
        da = dh * (1 - h[t] ** 2)
        dw_h += da * h[t - 1]
        dw_x += da * x[t - 1]
    return dw_h, dw_x


def engine(dh_above):
    """Run the engine's RNN with one unit, one input and the weight matrix [[w_h, w_x, bias]]."""
    W = np.array([[w_h, w_x, 0.0]])
    dW = np.zeros_like(W)
    layer = Layer(RNN, {"W": W}, {"W": dW}, H=1, T=T, B=1, backend=CPU)
    layer.start[0] = h_0
    for t in range(T):
        layer.linears[0].x[t] = x[t]
        layer.step(t)
    layer.backward(slice(0, T), np.reshape(dh_above, (T, 1, 1)))
    layer.gradients(slice(0, T), T, ids=None)
    return dW[0], layer.linears[0].dx[:, 0, 0]


def test_the_sum_over_all_paths_is_the_derivative():
    h = 1e-6
    measured = (loss(w_h + h, w_x) - loss(w_h - h, w_x)) / (2 * h)
    assert path_by_path() == pytest.approx(measured, rel=1e-8)


def test_one_pass_sums_over_every_path():
    assert one_pass()[0] == pytest.approx(path_by_path(), rel=1e-13)


def test_the_engine_computes_the_same_gradient():
    dW, dx = engine(dh_above)
    assert dW[:2] == pytest.approx(one_pass(), rel=1e-13)


def test_the_worked_example_matches_the_engine():
    h = states(w_h, w_x)
    dW, dx = engine(dh_above)
    da = [*dx / w_x, 0.0]
    for t in range(1, T + 1):
        carried = w_h * da[t]
        above, of_w_h, of_w_x = dh_above[t - 1], da[t - 1] * h[t - 1], da[t - 1] * x[t - 1]
        numbers = above, carried, above + carried, da[t - 1], of_w_h, of_w_x
        a_t, paths = w_h * h[t - 1] + w_x * x[t - 1], [path(h, t, s) for s in range(1, T + 1)]
        for words in (
            f"    {t}   {x[t - 1]:4}   {a_t:.4f}   {h[t]:.4f}\n",
            "    {}   {:9}   {:12.4f}   {:.4f}   {:.4f}   {:12.4f}   {:8.4f}\n".format(t, *numbers),
            "    L_{}    {:7.4f}   {:7.4f}   {:.4f}\n".format(t, *paths),
        ):
            assert words in __doc__
    dh_2 = dh_above[1] + dh_above[2] * (1 - h[3] ** 2) * w_h
    assert da[1] * h[1] == pytest.approx(dh_2 * (1 - h[2] ** 2) * h[1], rel=1e-13)
    assert f"with T = 100 there are {100 * 101 // 2:,} paths" in __doc__
    assert f"dw_h = 0.1999 + 0.2156 + 0.1905 = {dW[0]:.4f}\n" in __doc__
    first, second, third = np.multiply(da[:T], x)
    assert f"dw_x = {third:.4f} - {-second:.4f} + {first:.4f} = {dW[1]:.4f}\n" in __doc__


def test_without_the_gradient_from_the_next_step_only_the_paths_within_one_step_remain():
    """A network trained with this gradient does not learn to remember."""
    h = states(w_h, w_x)
    within = sum(d * (1 - h_t**2) * h_prev for d, (h_prev, h_t) in zip(dh_above, pairwise(h), strict=True))
    assert abs(within - path_by_path()) > 0.1 * abs(path_by_path())


def test_a_loss_at_the_last_step_alone_reaches_every_input():
    dW, dx = engine([0.0] * (T - 1) + [1.0])
    h = states(w_h, w_x)
    for s in range(1, T + 1):
        assert dx[s - 1] == pytest.approx(slope_of_state(h, T, s) * (1 - h[s] ** 2) * w_x, rel=1e-13)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_stacked_layers_agree_with_the_complex_step(num_layers):
    """Check every weight of a network with `num_layers` RNN layers."""
    generator = np.random.default_rng(8)
    config = Config(vocab_size=8, model="rnn", rnn_size=3, num_layers=num_layers)
    network = toy_network(config, T=5, B=2, generator=generator)
    inputs, targets = generator.integers(8, size=(2, 5, 2))  # each (T, B)
    for row in check_network(network, inputs, targets):
        assert row.complex_error < 1e-13, row.name


WRITE = ("slope_of_state", "path", "one_pass")

EXERCISE = """
In minichar/engine/layer.py, in Layer.backward, change

    if t < len(dh_above) - 1:

to

    if t < 0:

`Layer.backward` is the loop above, for every cell. `dh_above[t]` contains the first term of dh_t, to
which `add_state_gradient` adds the second, W_hᵀ @ da_{t+1}. (`self.dstates` is for cells with more
paths back, such as the LSTM.) Now no gradient is passed from a step to the previous one. Which tests
fail? Which of them test a single unit, and which test a whole network?
"""

ANSWER = """
Three single-unit tests fail: test_the_engine_computes_the_same_gradient,
test_the_worked_example_matches_the_engine and
test_a_loss_at_the_last_step_alone_reaches_every_input, where the gradient now reaches only the
last input. One whole-network test fails three times, once for each number of layers:
test_stacked_layers_agree_with_the_complex_step.
"""
