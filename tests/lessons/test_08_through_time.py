"""Lesson 8. Through time: BPTT is the chain rule along every path, walked once.

Run the step of lesson 7 T times, each on the state that the last one left, and ask after every
step for a loss. *Unrolled*, that is a deep network of T layers which all have the same weight:

    h_0 ──▶ h_1 ──▶ h_2 ──▶ … ──▶ h_T           h_t = tanh(w h_{t-1} + u x_t)
             │       │             │
             ▼       ▼             ▼
             L_1     L_2           L_T           loss = L_1 + … + L_T

How does w change the loss? Through every step s in which it is used, and from there through every
later state up to every step t with a loss: one term for each pair s ≤ t, T(T + 1)/2 paths.

    dw = Σ_t Σ_{s≤t}  dL_t/dh_t · (slope of h_t by h_s) · (1 - h_s²) h_{s-1}

where the slope of h_t by h_s is the product of w (1 - h_r²) over the steps r = s+1 … t between.
Nobody adds that up path by path. A state h_t has two ways to the loss, its own L_t and the next
state, so its gradient is the sum of two. Walk from the end, and carry the second along:

    dh_t     = dL_t/dh_t + what came back from step t+1           (after the last step: nothing)
    da_t     = dh_t (1 - h_t²)
    dw      += da_t h_{t-1}              du += da_t x_t
    dh_{t-1} = w da_t                    to be carried to the step before

All the paths in T steps. This is *backpropagation through time* (Werbos 1990). In the engine it is
`Recurrent.backward`, and each cell only says how to do one step back. When layers are stacked,
what comes from above is dL_t/dh_t: a layer's dx is the dh from above of the layer below it.
"""

from itertools import pairwise
from math import prod, tanh

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, toy_network
from minichar.engine.network import teacher_forcing
from minichar.engine.rnn import RNN

w, u, h_0 = 0.8, 0.5, 0.3
x = [0.9, -0.4, 0.7, 0.1, -0.8]  # x_1 … x_T
c = [0.2, 1.0, -0.5, 0.3, 0.6]  # the loss of step t is c_t h_t, so dL_t/dh_t = c_t
T = len(x)


def states(w, u):
    h = [h_0]
    for x_t in x:
        h.append(tanh(w * h[-1] + u * x_t))
    return h


def loss(w, u):
    return sum(c_t * h_t for c_t, h_t in zip(c, states(w, u)[1:], strict=True))


def path_by_path():
    """dw as the sum over all pairs s ≤ t."""
    h, dw = states(w, u), 0.0
    for t in range(1, T + 1):
        for s in range(1, t + 1):
            between = prod(w * (1 - h[r] ** 2) for r in range(s + 1, t + 1))
            dw += c[t - 1] * between * (1 - h[s] ** 2) * h[s - 1]
    return dw


def one_walk_back():
    h, dw, du, carried = states(w, u), 0.0, 0.0, 0.0
    for t in range(T, 0, -1):
        dh = c[t - 1] + carried
        da = dh * (1 - h[t] ** 2)
        dw += da * h[t - 1]
        du += da * x[t - 1]
        carried = w * da
    return dw, du


def engine():
    """The engine's RNN with one unit and one input; then its weights are the row [w, u, bias]."""
    W = np.array([[w, u, 0.0]])
    layer = RNN({"W": W}, {"W": np.zeros_like(W)}, H=1, T=T, B=1, backend=CPU)
    layer.states[0][0] = h_0
    for t in range(T):
        layer.x[t] = x[t]
        layer.step(t, None)
    return layer


def test_a_push_on_the_weight_is_felt_through_every_step():
    push = 1e-6
    assert path_by_path() == pytest.approx((loss(w + push, u) - loss(w - push, u)) / (2 * push), rel=1e-8)


def test_one_walk_back_collects_every_path():
    assert one_walk_back()[0] == pytest.approx(path_by_path(), rel=1e-13)


def test_the_engine_walks_back_the_same_way():
    layer = engine()
    layer.backward(np.reshape(c, (T, 1, 1)), None)
    assert layer.gradients["W"][0, :2] == pytest.approx(one_walk_back(), rel=1e-13)


def test_without_the_carried_part_each_step_learns_for_itself_only():
    """What is left are the paths with s = t: the network could not learn to remember."""
    alone = sum(
        c_t * (1 - h_t**2) * h_prev for c_t, (h_prev, h_t) in zip(c, pairwise(states(w, u)), strict=True)
    )
    assert abs(alone - path_by_path()) > 0.1 * abs(path_by_path())


def test_a_gradient_of_the_last_step_alone_reaches_every_input():
    layer = engine()
    last = np.zeros((T, 1, 1))
    last[-1] = 1.0
    layer.backward(last, None)
    dx = layer.input_gradient(T)[:, 0, 0]  # (T,)
    h = states(w, u)
    for s in range(1, T + 1):
        between = prod(w * (1 - h[r] ** 2) for r in range(s + 1, T + 1))
        assert dx[s - 1] == pytest.approx(between * (1 - h[s] ** 2) * u, rel=1e-13)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_a_whole_network_of_so_many_layers_agrees_with_the_complex_step(layers):
    """Characters in, `layers` RNNs on top of each other, read-out, softmax; every weight of each."""
    generator = np.random.default_rng(8)
    network = toy_network(Config(vocab_size=8, model="rnn", rnn_size=3, num_layers=layers), 5, 2, generator)
    inputs, targets = generator.integers(8, size=(2, 5, 2))  # each (T, B)
    for row in check_network(network, teacher_forcing(inputs), targets):
        assert row.complex_error < 1e-13, row.name


EXERCISE = """
In minichar/engine/recurrent.py, in backward, change

    dh += dh_above[t]

to

    dh = dh_above[t]

so that nothing is carried back from the step after. Which tests go red? Which of them speak of one
unit, and which of a network?
"""

ANSWER = """
Three. Of one unit speak test_the_engine_walks_back_the_same_way and
test_a_gradient_of_the_last_step_alone_reaches_every_input (it reaches only the last), of networks
test_a_whole_network_of_so_many_layers_agrees_with_the_complex_step, for each number of layers. It
is green where step_backward is called by hand, since the sum is then taken in the lesson.
"""
