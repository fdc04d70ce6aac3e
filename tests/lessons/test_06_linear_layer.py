"""Lesson 6. A linear layer and a batch: dx = Wᵀ da, and dW a sum over all who used it.

G outputs, K inputs. Every output hears every input, and has a bias of its own:

    a_j = Σ_k W_jk x_k + b_j

Backward, suppose da is known. The weight W_jk touches the loss through a_j alone. The input x_k
touches it through every a_j, so it gets a sum, as the weight used twice of lesson 1 did:

    dW_jk = da_j x_k                 db_j = da_j              dx_k = Σ_j W_jk da_j

As matrices: dW = da xᵀ (a column times a row) and dx = Wᵀ da. Forward, W carries from x to a;
backward, its transpose carries from da to dx. No inverse is asked for.

A batch of B sequences is B columns, and each column goes its own way. Only W is shared: every
column used it, so its gradient is the sum over the columns. With X (K, B) and dA (G, B),

    A = W X + b                      dW = dA Xᵀ               dX = Wᵀ dA

The product dA Xᵀ does that sum by itself. It is a sum, not a mean: the mean has been taken in the
loss (lesson 5). Time is no different. T steps of B sequences are T·B columns that used the same
W, so the engine lays all of them side by side: one product for dW of the chunk, one for dX.

Two tricks of the engine. It puts a 1 below x, and then the bias is the last column of W:

    s = [x; 1]         a = W s         dW = da sᵀ  (bias too)         dx = Wᵀ da, W without bias

And the first layer reads characters. A character is a *one-hot* vector, 1 at its own place k, so
Wx @ onehot(k) is column k of Wx: look it up, do not multiply. Backward, column k of dWx is the sum
of da over all the places where character k was read, and 0 if it never was.
"""

import numpy as np
from minichar.engine.onehot import OneHot

from minichar.devices.cpu import CPU
from minichar.engine.gradcheck import complex_step
from minichar.engine.linear import Linear

G, K, T, B, V = 4, 3, 2, 5, 6  # all different: a matrix the wrong way round does not fit
generator = np.random.default_rng(6)
W = generator.normal(size=(G, K + 1))  # bias last
x = generator.normal(size=(T, K, B))
da = generator.normal(size=(T, G, B))


def naive(W, x, da):
    """Every number by itself: a, dx and dW, with the bias in the last column."""
    a, dx, dW = np.zeros((T, G, B)), np.zeros((T, K, B)), np.zeros((G, K + 1))
    for t in range(T):
        for b in range(B):
            for j in range(G):
                a[t, j, b] = W[j, K]
                dW[j, K] += da[t, j, b]
                for k in range(K):
                    a[t, j, b] += W[j, k] * x[t, k, b]
                    dW[j, k] += da[t, j, b] * x[t, k, b]
                    dx[t, k, b] += W[j, k] * da[t, j, b]
    return a, dx, dW


def engine(W, x, da):
    dW = np.zeros_like(W)
    layer = Linear(W, dW, T, B, CPU)
    layer.x[:T] = x
    a = np.array([layer.step(t) for t in range(T)])
    give(layer, da)
    layer.weight_gradient(T)
    return a, layer.input_gradient(T), dW


def give(layer, da):
    """Tell the engine's layer the gradient of its outputs, step by step."""
    for t in range(T):
        layer.da[...] = da[t]
        layer.keep(t)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_forward_each_output_hears_every_input_and_its_bias():
    close(engine(W, x, da)[0], naive(W, x, da)[0])


def test_each_input_gets_the_sum_over_the_outputs_that_heard_it():
    close(engine(W, x, da)[1], naive(W, x, da)[1])


def test_each_weight_gets_the_sum_over_all_columns_that_used_it():
    close(engine(W, x, da)[2], naive(W, x, da)[2])


def test_a_batch_is_nothing_but_its_sequences_one_after_the_other():
    one_by_one = np.zeros_like(W)
    for b in range(B):
        alone = np.zeros_like(da)
        alone[..., b] = da[..., b]
        one_by_one += engine(W, x, alone)[2]
    close(engine(W, x, da)[2], one_by_one)


def test_the_complex_step_agrees():
    """With da given, the loss whose gradient by a is da is Σ da ∘ a."""

    def by_W(theta):
        return (da * engine(theta.reshape(W.shape), x, da)[0]).sum()

    def by_x(theta):
        s = np.concatenate([theta.reshape(x.shape), np.ones((T, 1, B))], axis=1)
        return (da * (W @ s)).sum()

    close(engine(W, x, da)[2], complex_step(by_W, W.reshape(-1)).reshape(W.shape))
    close(engine(W, x, da)[1], complex_step(by_x, x.reshape(-1)).reshape(x.shape))


def reader():
    """A first layer: the same W, and a column of Wx for each character that it reads."""
    Wx, dW, dWx = generator.normal(size=(G, V)), np.zeros_like(W), np.full((G, V), 9.0)
    layer = Linear(W, dW, T, B, CPU, OneHot(Wx, dWx, B, CPU))
    layer.x[:T] = x
    give(layer, da)
    return layer, Wx, dWx


ids = np.array([[5, 0, 0, 2, 5], [5, 5, 1, 2, 0]])  # (T, B); nobody reads 3 or 4


def test_a_character_adds_its_column():
    layer, Wx, dWx = reader()
    for t in range(T):
        close(layer.step(t, ids[t]), naive(W, x, da)[0][t] + Wx @ np.eye(V)[:, ids[t]])


def test_a_column_gets_the_gradient_of_every_place_where_its_character_was_read():
    layer, Wx, dWx = reader()
    layer.weight_gradient(T, ids)
    expected = np.zeros((G, V))
    for t in range(T):
        for b in range(B):
            expected[:, ids[t, b]] += da[t, :, b]
    close(dWx, expected)


EXERCISE = """
In tests/lessons/test_06_linear_layer.py, in naive, change

    dW[j, k] += da[t, j, b] * x[t, k, b]

to

    dW[j, k] = da[t, j, b] * x[t, k, b]

What does dW hold now? Which test goes red, and why is it only one?
"""

ANSWER = """
dW then holds what the last step and the last sequence left there, in place of the sum over all:
test_each_weight_gets_the_sum_over_all_columns_that_used_it. Only that one compares with the loops;
the others hold the engine to its own parts and to the complex step. An = for a += is the most usual
mistake of all in a backward pass by hand.
"""
