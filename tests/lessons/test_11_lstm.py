"""Lesson 11. The LSTM, gate by gate: a cell with a tap on every pipe.

An LSTM has two states: c, the cell, in which things are kept, and h, what it shows of them
(Hochreiter & Schmidhuber 1997; Gers et al. 2000 for f). One product makes four pre-activations,
each of H rows. Three become gates between 0 and 1, the fourth is what might be written:

    a = W [h_prev; x; 1]             rows a_i, a_f, a_o, a_g
    i = σ(a_i)     input gate        how much of g is written
    f = σ(a_f)     forget gate       how much of the old cell is kept
    o = σ(a_o)     output gate       how much of the cell is shown
    g = tanh(a_g)  candidate         what might be written
    c = f ∘ c_prev + i ∘ g
    h = o ∘ tanh(c)

Backward. From above and from the step after come dh, and dc for the cell. Last line first:

    h = o ∘ tanh(c)           do = dh ∘ tanh(c)
                              dc = dc + dh ∘ o ∘ (1 - tanh²(c))        c has two ways to the loss
    c = f ∘ c_prev + i ∘ g    df = dc ∘ c_prev     dc_prev = dc ∘ f
                              di = dc ∘ g          dg = dc ∘ i
    gates                     da_i = di ∘ i ∘ (1 - i)     and so f and o         (lesson 4)
                              da_g = dg ∘ (1 - g∘g)
    a = W [h_prev; x; 1]      [dh_prev; dx] = Wᵀ da       dW = da [h_prev; x; 1]ᵀ   (lesson 7)

In c's products, each factor's gradient is dc times *the other factor*. So a gate learns only from
what it holds in its hands: if c_prev is 0, the forget gate has nothing to learn, and if f is shut,
no gradient goes back to c_prev. The line dc_prev = dc ∘ f is the way back that lesson 10 measured.
"""

from math import exp, tanh

import numpy as np

from minichar.devices.cpu import CPU
from minichar.engine.gradcheck import complex_step
from minichar.engine.lstm import LSTM

H, D, B = 3, 4, 2
generator = np.random.default_rng(11)
W = generator.normal(size=(4 * H, H + D + 1)) * 0.7
h_prev, c_prev, dh, dc = generator.normal(size=(4, H, B))
x = generator.normal(size=(D, B))


def sigmoid(a):
    return 1 / (1 + exp(-a))


def cell(a_i, a_f, a_o, a_g, c_prev):
    """One unit of one sequence: every letter is a number."""
    i, f, o, g = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), tanh(a_g)
    c = f * c_prev + i * g
    h = o * tanh(c)
    return i, f, o, g, c, h


def cell_backward(a_i, a_f, a_o, a_g, c_prev, dh, dc):
    i, f, o, g, c, h = cell(a_i, a_f, a_o, a_g, c_prev)
    # h = o tanh(c)
    do = dh * tanh(c)
    dc = dc + dh * o * (1 - tanh(c) ** 2)
    # c = f c_prev + i g
    df, dc_prev = dc * c_prev, dc * f
    di, dg = dc * g, dc * i
    # through the non-linearities
    return di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g * g), dc_prev


def engine(W, h_prev, c_prev, x):
    """The engine's layer, one step forward."""
    W = W.astype(np.result_type(W, h_prev, c_prev, x))  # complex if one of them is
    layer = LSTM({"W": W}, {"W": np.zeros_like(W)}, H, T=2, B=B, backend=CPU)
    layer.states[0][0], layer.states[1][0], layer.x[0] = h_prev, c_prev, x
    layer.step(0, None)
    return layer


def engine_backward():
    """What the step gives back to each gate, to h_prev, c_prev, x and W."""
    layer = engine(W, h_prev, c_prev, x)
    dh_prev, dc_prev = layer.step_backward(0, dh.copy(), dc.copy())
    layer.weight_gradients(1, None)
    dx = layer.input_gradient(1)[0]
    return layer.gates.da.reshape(4, H, B), dh_prev, dc_prev, dx, layer.gradients["W"]


s = np.concatenate([h_prev, x, np.ones((1, B))])
a = (W @ s).reshape(4, H, B)
# `np.vectorize` makes the loop over all units and sequences.
da_i, da_f, da_o, da_g, dc_prev_by_hand = np.vectorize(cell_backward)(*a, c_prev, dh, dc)  # each (H, B)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_forward_the_engine_makes_the_same_cell_and_the_same_state():
    layer = engine(W, h_prev, c_prev, x)
    *_, c, h = np.vectorize(cell)(*a, c_prev)
    close(layer.states[1][1], c)
    close(layer.h[1], h)


def test_the_input_gate_learns_from_what_might_be_written():
    close(engine_backward()[0][0], da_i)


def test_the_forget_gate_learns_from_what_was_kept():
    close(engine_backward()[0][1], da_f)


def test_the_output_gate_learns_from_what_is_shown():
    close(engine_backward()[0][2], da_o)


def test_the_candidate_learns_as_far_as_the_input_gate_is_open():
    close(engine_backward()[0][3], da_g)


def test_the_gradient_flows_back_along_the_cell_through_the_forget_gate():
    close(engine_backward()[2], dc_prev_by_hand)


def test_from_the_four_gates_one_product_goes_back_to_state_and_input_and_one_to_the_weights():
    da, dh_prev, dc_prev, dx, dW = engine_backward()
    flat = da.reshape(4 * H, B)
    close(np.concatenate([dh_prev, dx]), W[:, :-1].T @ flat)
    close(dW, flat @ s.T)


def slope(f, at):
    """The derivative of the number f(at) by every entry of `at`, by the complex step of lesson 3."""
    return complex_step(lambda theta: f(theta.reshape(at.shape)), at.reshape(-1)).reshape(at.shape)


def test_the_complex_step_agrees_on_everything():
    def loss(W, h_prev, c_prev, x):
        """Σ dh ∘ h + dc ∘ c"""
        stepped = engine(W, h_prev, c_prev, x)
        return (dh * stepped.h[1] + dc * stepped.states[1][1]).sum()

    da, dh_prev, dc_prev, dx, dW = engine_backward()
    close(dh_prev, slope(lambda h_prev: loss(W, h_prev, c_prev, x), h_prev))
    close(dc_prev, slope(lambda c_prev: loss(W, h_prev, c_prev, x), c_prev))
    close(dx, slope(lambda x: loss(W, h_prev, c_prev, x), x))
    close(dW, slope(lambda W: loss(W, h_prev, c_prev, x), W))


EXERCISE = """
In minichar/engine/lstm.py, in the backward pass, change

    xp.multiply(dc, f, out=dc)

to

    xp.multiply(dc, i, out=dc)

Count the rows of the loop above it that read dc before this line writes over it. What goes red,
and what would have been lost if this line had come before the loop over the gates?
"""

ANSWER = """
test_the_gradient_flows_back_along_the_cell_through_the_forget_gate and
test_the_complex_step_agrees_on_everything. Three rows read dc: those of i, f and g. Had dc
been written over before them, i, f and the candidate g would have learned from dc_prev in place of dc.
"""
