"""Lesson 11. The LSTM, gate by gate: three gates around a cell state, and their gradients.

An LSTM has two states: the cell state c, which is its memory, and the hidden state h, which is its
output (Hochreiter & Schmidhuber 1997; Gers et al. 2000 added the forget gate). One matrix product
computes four pre-activations with H rows each:

    a = W @ [h_prev; x; 1]           rows i, f, o, g
    i, f, o = σ(a_i), σ(a_f), σ(a_o)
    g = tanh(a_g)
    c = f ∘ c_prev + i ∘ g
    h = o ∘ tanh(c)

The candidate g, between -1 and 1, is the new content. Three gates, between 0 and 1, control the
cell state: the forget gate f sets how much of the old content is kept, the input gate i how much
of the candidate is written, and the output gate o how much of the content is output.

The backward pass starts from dh and dc, the gradients with respect to the two states, and
differentiates the last line first. c affects the loss in two ways, through h and through the next
step, so its gradient is a sum:

    h = o ∘ tanh(c)
        do = dh ∘ tanh_c
        dc = dc + dh ∘ o ∘ (1 - tanh_c ∘ tanh_c)

    c = f ∘ c_prev + i ∘ g
        df, dc_prev = dc ∘ c_prev, dc ∘ f
        di, dg = dc ∘ g, dc ∘ i

    i, f, o = σ(a_i), σ(a_f), σ(a_o);  g = tanh(a_g)
        da_i, da_f, da_o = di ∘ i ∘ (1 - i), df ∘ f ∘ (1 - f), do ∘ o ∘ (1 - o)
        da_g = dg ∘ (1 - g ∘ g)

That is the whole cell. The matrix product is differentiated as in lesson 7:

    dh_prev, dx, dW = W_hᵀ @ da, W_xᵀ @ da, da @ [h_prev; x; 1]ᵀ

In a product such as f ∘ c_prev, the gradient with respect to each factor is dc times *the other
factor*. So if c_prev is 0, the forget gate's gradient is 0, and if f is 0, no gradient reaches
c_prev. The line dc_prev = dc ∘ f is the path that lesson 10 measures.
"""

from math import exp, tanh

import numpy as np

from minichar.engine import lstm
from minichar.engine.gradcheck import complex_step

H, D, B = 3, 4, 2
generator = np.random.default_rng(11)
W = generator.normal(size=(4 * H, H + D + 1)) * 0.7
h_prev, c_prev, dh, dc = generator.normal(size=(4, H, B))
x = generator.normal(size=(D, B))


def step(W, h_prev, c_prev, x):
    """Run one step: the matrix product, then the engine's cell."""
    s = np.concatenate([h_prev, x, np.ones((1, B))])
    a = (W @ s).reshape(4, H, B)
    h, c, cache = lstm.forward(np, a, c_prev)
    return h, c, cache, s


def step_backward(W, s, dh, dc, cache):
    """Backpropagate through the engine's cell, then through the matrix product."""
    da, dc_prev = lstm.backward(np, dh, dc, cache)
    da = np.concatenate(da)  # (4H, B)
    dh_prev = W[:, :H].T @ da
    dx = W[:, H:-1].T @ da
    dW = da @ s.T
    return dh_prev, dc_prev, dx, dW


def sigmoid(a):
    return 1 / (1 + exp(-a))


def one_unit(a_i, a_f, a_o, a_g, c_prev):
    """Run the cell for one unit and one sequence, using scalars."""
    i, f, o, g = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), tanh(a_g)
    c = f * c_prev + i * g
    return o * tanh(c), c


def one_unit_backward(a_i, a_f, a_o, a_g, c_prev, dh, dc):
    """Return the gradients of `one_unit` with respect to its five inputs, by central differences."""
    inputs, small = [a_i, a_f, a_o, a_g, c_prev], 1e-6

    def loss(inputs):
        h, c = one_unit(*inputs)
        return dh * h + dc * c

    gradients = []
    for k in range(5):
        above, below = inputs.copy(), inputs.copy()
        above[k] += small
        below[k] -= small
        gradients.append((loss(above) - loss(below)) / (2 * small))
    return tuple(gradients)


h, c, cache, s = step(W, h_prev, c_prev, x)
da, dc_prev = lstm.backward(np, dh, dc, cache)
a = (W @ s).reshape(4, H, B)
# np.vectorize loops over units and sequences; each result has the shape (H, B).
measured_i, measured_f, measured_o, measured_g, measured_c_prev = np.vectorize(one_unit_backward)(
    *a, c_prev, dh, dc
)


def close(found, expected, atol=1e-14):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=atol)


def test_each_unit_computes_the_equations_above():
    by_hand_h, by_hand_c = np.vectorize(one_unit)(*a, c_prev)
    close(h, by_hand_h)
    close(c, by_hand_c)


def test_the_gradient_of_the_input_gate():
    close(da[0], measured_i, atol=1e-8)


def test_the_gradient_of_the_forget_gate():
    close(da[1], measured_f, atol=1e-8)


def test_the_gradient_of_the_output_gate():
    close(da[2], measured_o, atol=1e-8)


def test_the_gradient_of_the_candidate():
    close(da[3], measured_g, atol=1e-8)


def test_the_gradient_of_the_previous_cell_state():
    close(dc_prev, measured_c_prev, atol=1e-8)


def test_the_complex_step_agrees_on_every_gradient():
    """For the loss Σ dh ∘ h + dc ∘ c, the gradients with respect to h and c are dh and dc."""

    def gradient(f, at):
        def loss(theta):
            h, c, *_ = f(theta.reshape(at.shape))
            return (dh * h + dc * c).sum()

        return complex_step(loss, at.reshape(-1)).reshape(at.shape)

    dh_prev, dc_prev, dx, dW = step_backward(W, s, dh, dc, cache)
    close(dh_prev, gradient(lambda h_prev: step(W, h_prev, c_prev, x), h_prev))
    close(dc_prev, gradient(lambda c_prev: step(W, h_prev, c_prev, x), c_prev))
    close(dx, gradient(lambda x: step(W, h_prev, c_prev, x), x))
    close(dW, gradient(lambda W: step(W, h_prev, c_prev, x), W))


EXERCISE = """
In minichar/engine/lstm.py, in backward, change

    dc = dc + dh * o * (1.0 - tanh_c * tanh_c)

to

    dc = dh * o * (1.0 - tanh_c * tanh_c)

This discards the gradient from the next step. Guess first: which gate still has the correct
gradient, and why?
"""

ANSWER = """
The output gate: its gradient depends only on dh. Every gradient that passes through c is wrong:
test_the_gradient_of_the_input_gate, test_the_gradient_of_the_forget_gate,
test_the_gradient_of_the_candidate, test_the_gradient_of_the_previous_cell_state and
test_the_complex_step_agrees_on_every_gradient fail. This mistake cuts the path along the cell
state, so the LSTM forgets as fast as an RNN.
"""
