"""Lesson 6. A linear layer and a batch: why dx = Wᵀ @ da, and why dW is a sum over every use of W.

A linear layer has K inputs and G outputs. Each output depends on every input and has a bias:

    a_j = Σ_k W_jk x_k + b_j

[figure: linear_layer]

For the backward pass, suppose da is known. The loss depends on the weight W_jk only through a_j. It
depends on the input x_k through every a_j, so dx_k is a sum, like the derivative of the weight that
is used twice in lesson 1:

    dW_jk = da_j x_k                 db_j = da_j              dx_k = Σ_j W_jk da_j

In matrix notation, dW = da @ xᵀ (a column times a row) and dx = Wᵀ @ da. The forward pass
multiplies by W, and the backward pass multiplies by its transpose.

A batch of B sequences is a matrix with B columns. The columns do not interact, but they all use the
same W, so the gradient of W is the sum over the columns. With x (K, B) and da (G, B), the matrix
product da @ xᵀ computes that sum. It is a sum rather than a mean because the loss is already a mean
(lesson 5).

[figure: outer_product.svg]

Time steps work the same way. T steps of B sequences are T·B columns that use the same W. The engine
stores them side by side, so one matrix product computes dW for a whole chunk, and another computes
dx.

The engine does two things differently. First, it appends a 1 to x, so that the bias becomes a
column of W:

    s  = [x; 1]
    a  = W @ s
    dW = da @ sᵀ                     includes the bias
    dx = W_xᵀ @ da                   W_x is W without its last column

Second, the first layer takes character ids as input. Character k stands for a *one-hot* vector, 1
at k and 0 elsewhere, so Wx @ onehot(k) is column k of Wx. The engine looks up this column instead
of multiplying. In the backward pass, column k of dWx is the sum of da over all occurrences of
character k.
"""

import numpy as np

from minichar.devices.cpu import CPU
from minichar.engine.gradcheck import complex_step
from minichar.engine.linear import CharacterLinear, Linear

G, K, T, B, V = 4, 3, 2, 5, 6  # all different, so that a transposed matrix has the wrong shape
generator = np.random.default_rng(6)
W = generator.normal(size=(G, K + 1))  # bias last
Wx = generator.normal(size=(G, V))
x = generator.normal(size=(T, K, B))
da = generator.normal(size=(T, G, B))
ids = np.array([[5, 0, 0, 2, 5], [5, 5, 1, 2, 0]])  # (T, B); characters 3 and 4 do not occur


def loops(W, x, da):
    """Return a ``(T, G, B)``, dx and dW from W ``(G, K + 1)``, x ``(T, K, B)`` and da, element by element."""
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
    layer = Linear(W, dW, gates=1, H=0, T=T, B=B, backend=CPU)
    layer.x[:] = x
    a = np.array([layer.step(t)[0] for t in range(T)])
    layer.da[:] = da
    layer.gradients(slice(0, T), T, ids=None)
    return a, layer.dx, dW


def engine_reading_characters(da):
    """Run a first layer, whose W contains only the bias column, and return ``(a, dWx)``."""
    dWx = np.zeros_like(Wx)
    bias, dbias = np.zeros((G, 1)), np.zeros((G, 1))
    layer = CharacterLinear(Wx, dWx, bias, dbias, 1, 0, T, B, CPU)
    layer.read(slice(0, T), ids)
    a = np.array([layer.step(t)[0] for t in range(T)])
    layer.da[:] = da
    layer.gradients(slice(0, T), T, ids)
    return a, dWx


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_each_output_depends_on_every_input_and_its_bias():
    close(engine(W, x, da)[0], loops(W, x, da)[0])


def test_the_gradient_of_each_input_is_the_sum_over_the_outputs():
    close(engine(W, x, da)[1], loops(W, x, da)[1])


def test_the_gradient_of_each_weight_is_the_sum_over_all_columns():
    close(engine(W, x, da)[2], loops(W, x, da)[2])


def test_the_gradient_of_a_batch_is_the_sum_over_its_sequences():
    one_by_one = np.zeros_like(W)
    for b in range(B):
        alone = np.zeros_like(da)
        alone[..., b] = da[..., b]
        one_by_one += engine(W, x, alone)[2]
    close(engine(W, x, da)[2], one_by_one)


def test_the_complex_step_agrees():
    """For the loss Σ da ∘ a, the gradient with respect to a is da."""

    def of_W(theta):
        return (da * engine(theta.reshape(W.shape), x, da)[0]).sum()

    def of_x(theta):
        return (da * engine(W.astype("complex128"), theta.reshape(x.shape), da)[0]).sum()

    close(engine(W, x, da)[2], complex_step(of_W, W.reshape(-1)).reshape(W.shape))
    close(engine(W, x, da)[1], complex_step(of_x, x.reshape(-1)).reshape(x.shape))


def test_a_character_selects_its_column_of_Wx():
    a, _ = engine_reading_characters(da)
    for t in range(T):
        close(a[t], Wx @ np.eye(V)[:, ids[t]])


def test_the_gradient_of_a_column_is_the_sum_over_all_occurrences_of_its_character():
    _, dWx = engine_reading_characters(da)
    expected = np.zeros((G, V))
    for t in range(T):
        for b in range(B):
            expected[:, ids[t, b]] += da[t, :, b]
    close(dWx, expected)


WRITE = ("loops",)

EXERCISE = """
In tests/lessons/test_06_linear_layer.py, in loops, change

    dW[j, k] += da[t, j, b] * x[t, k, b]

to

    dW[j, k] = da[t, j, b] * x[t, k, b]

What does dW contain now? Which test fails, and why only that one?
"""

ANSWER = """
Apart from its bias column, dW now contains only the last sequence's term at the last step, instead
of the sum. Only test_the_gradient_of_each_weight_is_the_sum_over_all_columns fails, because no
other test compares the engine's dW with the loops. The others compare the engine's dW with another
dW from the engine or with the complex step. Writing = instead of += is a common mistake in
hand-written backward passes.
"""
