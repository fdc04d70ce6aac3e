"""Lesson 7. One RNN step: a matrix product and a tanh, forward and backward.

A recurrent network has a *hidden state* h, which is its memory of everything it has read. One step
computes the next state from the previous state and an input x (Elman 1990):

    a = W @ [h_prev; x; 1]
    h = tanh(a)

[figure: rnn_step]

W has H rows. Its columns are W_h for h_prev, W_x for x, and the bias.

[figure: rnn.svg]

This is the linear layer from lesson 6 followed by the tanh from lesson 3. The backward pass starts
at the last line, with dh, the gradient of the loss with respect to the new state:

    h = tanh(a)
        da = dh ∘ (1 - h ∘ h)            element by element

    a = W @ [h_prev; x; 1]
        dh_prev, dx = W_hᵀ @ da, W_xᵀ @ da
        dW = da @ [h_prev; x; 1]ᵀ        summed over the batch

[figure: rnn_backward.svg]

That is the complete backward pass of one RNN step. dx is passed to the layer below, and dh_prev to
the previous step.

In minichar, a *cell* is the part that is specific to one type of network: here, `h = tanh(a)` and
the corresponding line of the backward pass. A cell is a pair of functions, `forward` and
`backward`. `forward` also returns a *cache* of the values that `backward` needs. For an RNN, the
cache is just h. The matrix products work the same way for every cell, and a *layer* computes them.

Only dh_prev is needed right away, for the previous step. The layer therefore keeps da for every
step and computes dx and dW for the whole chunk at the end, with one matrix product each.

How good is this memory? Here is a preview of what the machine writes now, with 64 such units that
have read nine tenths of Python's help text twice. The lessons up to 16 explain how it was trained:

[output: it_writes]

This is noise, but better noise than that of the bigram table in lesson 0. On the last tenth of the
text, the network has a loss of 2.22, and the table has 2.49.
"""

from math import tanh

import numpy as np

import minichar
from minichar.devices.cpu import CPU
from minichar.engine import rnn
from minichar.engine.gradcheck import complex_step
from minichar.engine.layer import Layer

H, D, B = 3, 4, 2
generator = np.random.default_rng(7)
W = generator.normal(size=(H, H + D + 1)) * 0.5
h_prev = generator.normal(size=(H, B)) * 0.5
x = generator.normal(size=(D, B))
dh = generator.normal(size=(H, B))


def step(W, h_prev, x):
    """Run one step: the matrix product, then the engine's cell."""
    s = np.concatenate([h_prev, x, np.ones((1, B))])
    a = W @ s
    h, cache = rnn.forward(np, (a,))
    return h, cache, s


def step_backward(W, s, dh, cache):
    """Return dh_prev, dx and dW from W, s, dh and the cell's cache, with s = [h_prev; x; 1]."""
    ((da,),) = rnn.backward(np, dh, cache)
    dh_prev = W[:, :H].T @ da
    dx = W[:, H:-1].T @ da
    dW = da @ s.T
    return dh_prev, dx, dW


def loops(W, h_prev, x, dh):
    """Return ``(h, dh_prev, dx, dW)`` for one sequence, computed one element at a time."""
    s = [*h_prev, *x, 1.0]
    h = [tanh(sum(W[j][k] * s[k] for k in range(H + D + 1))) for j in range(H)]
    ds = [0.0] * (H + D)
    dW = [[0.0] * (H + D + 1) for j in range(H)]
    for j in range(H):
        da_j = dh[j] * (1 - h[j] ** 2)  # h = tanh(a)
        for k in range(H + D):
            ds[k] += W[j][k] * da_j  # a = W @ s, with respect to s
        for k in range(H + D + 1):
            dW[j][k] = da_j * s[k]  # a = W @ s, with respect to W
    return h, ds[:H], ds[H:], dW


def machine():
    split = {"split": "tail", "train_frac": 0.9, "val_frac": 0.1}
    options = {"rnn_size": 64, "num_layers": 1, **split}
    return minichar.train(model="rnn", max_epochs=2, seed=1, progress=False, **options)


def it_writes():
    return "The " + machine().generate("The ", length=300, temperature=0.7, seed=1)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_a_step_agrees_with_the_loops():
    h, cache, s = step(W, h_prev, x)
    dh_prev, dx, dW = step_backward(W, s, dh, cache)
    sum_of_dW = np.zeros_like(W)
    for b in range(B):
        expected = loops(W, h_prev[:, b], x[:, b], dh[:, b])
        for found, column in zip((h, dh_prev, dx), expected, strict=False):
            close(found[:, b], column)
        sum_of_dW += expected[3]
    close(dW, sum_of_dW)


def test_the_complex_step_agrees_on_every_gradient():
    """For the loss Σ dh ∘ h, the gradient with respect to h is dh."""

    def gradient(f, at):
        return complex_step(lambda theta: (dh * f(theta.reshape(at.shape))[0]).sum(), at.reshape(-1))

    h, cache, s = step(W, h_prev, x)
    dh_prev, dx, dW = step_backward(W, s, dh, cache)
    close(dh_prev.reshape(-1), gradient(lambda h_prev: step(W, h_prev, x), h_prev))
    close(dx.reshape(-1), gradient(lambda x: step(W, h_prev, x), x))
    close(dW.reshape(-1), gradient(lambda W: step(W, h_prev, x), W))


def test_the_engine_layer_computes_the_same_step():
    dW = np.zeros_like(W)
    layer = Layer(rnn.RNN, {"W": W}, {"W": dW}, H, T=1, B=B, backend=CPU)
    layer.start[0] = h_prev
    layer.linears[0].x[0] = x
    h, cache, s = step(W, h_prev, x)
    close(layer.step(0), h)
    _, expected_dx, expected_dW = step_backward(W, s, dh, cache)
    layer.backward(slice(0, 1), dh[None].copy())
    layer.gradients(slice(0, 1), 1, ids=None)
    close(layer.linears[0].dx[0], expected_dx)
    close(dW, expected_dW)


def test_a_saturated_unit_passes_no_gradient():
    heavy = W.copy()
    heavy[0, -1] = 50.0  # a bias that saturates unit 0 near 1
    h, cache, s = step(heavy, h_prev, x)
    of_unit_0 = np.zeros_like(dh)
    of_unit_0[0] = 1.0
    dh_prev, dx, dW = step_backward(heavy, s, of_unit_0, cache)
    assert h[0].min() > 0.999999
    assert max(abs(d).max() for d in (dh_prev, dx, dW)) < 1e-12


WRITE = ("rnn.forward", "rnn.backward", "step_backward")

EXERCISE = """
In minichar/engine/rnn.py, in backward, change

    da = dh * (1.0 - h * h)

to

    da = dh * (1.0 - h)

The shapes are the same, so nothing crashes. For which values of h is this derivative correct? Which
tests still pass?
"""

ANSWER = """
1 - h is correct at h = 0 and h = 1. It is too small in between and too large for negative h.
test_a_step_agrees_with_the_loops and test_the_complex_step_agrees_on_every_gradient fail. The test
of the saturated unit passes, because h is 1 there. The test of the engine's layer passes, because
it compares two computations that both use the cell you changed. A test needs a reference that does
not share the code under test.
"""
