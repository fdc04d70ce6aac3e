"""Lesson 7. One RNN step: a product and a tanh, and the way back through both.

A recurrent network keeps a state h, its memory of all it has read. A step reads an input x, looks
at the state before, and makes the next (Elman 1990):

    a = W [h_prev; x; 1]             H rows; the columns: H for h_prev, D for x, one for the bias
    h = tanh(a)

It is lesson 6 with lesson 4 on top, so the way back is theirs, last line first. Somebody gives us
dh, the gradient of the loss by the state that the step made. Then

    da = dh ∘ (1 - h∘h)                      through tanh, unit by unit: ∘ is entry by entry
    [dh_prev; dx] = Wᵀ da                    through the product; W without its bias column
    dW = da [h_prev; x; 1]ᵀ                  for the weights, summed over the batch

That is all there is to the backward pass of an RNN. Two gradients leave the step: dx goes down to
the layer below, dh_prev goes to the step before.

Only dh_prev is in a hurry, since the step before waits for it. So the engine's
`step_backward(t, dh)` makes da and dh_prev, and leaves da behind. dx and dW wait until all steps
are done: then one product makes dx for the whole chunk, and one dW.
"""

from math import tanh

import numpy as np

from minichar.devices.cpu import CPU
from minichar.engine.gradcheck import complex_step
from minichar.engine.rnn import RNN

H, D, B = 3, 4, 2
generator = np.random.default_rng(7)
W = generator.normal(size=(H, H + D + 1)) * 0.5
h_prev = generator.normal(size=(H, B)) * 0.5
x = generator.normal(size=(D, B))
dh = generator.normal(size=(H, B))


def naive_forward(W, h_prev, x):
    """Unit by unit, for one sequence: lists of H and of D numbers."""
    s = [*h_prev, *x, 1.0]
    return [tanh(sum(W[j][k] * s[k] for k in range(H + D + 1))) for j in range(H)]


def naive_backward(W, h_prev, x, dh):
    """What the step gives back to h_prev, x and W, for one sequence."""
    s, h = [*h_prev, *x, 1.0], naive_forward(W, h_prev, x)
    ds = [0.0] * (H + D)
    dW = [[0.0] * (H + D + 1) for j in range(H)]
    for j in range(H):
        da_j = dh[j] * (1 - h[j] ** 2)  # h = tanh(a)
        for k in range(H + D):
            ds[k] += W[j][k] * da_j  # a = W s, into s
        for k in range(H + D + 1):
            dW[j][k] = da_j * s[k]  # a = W s, into W
    return ds[:H], ds[H:], dW


def engine(W, h_prev, x):
    """The engine's layer, one step forward. It has room for a second step, to show an index that is off."""
    W = W.astype(np.result_type(W, h_prev, x))  # complex if one of them is
    layer = RNN({"W": W}, {"W": np.zeros_like(W)}, H, T=2, B=B, backend=CPU)
    layer.states[0][0], layer.x[0] = h_prev, x
    layer.step(0, None)
    return layer


def engine_backward():
    layer = engine(W, h_prev, x)
    (dh_prev,) = layer.step_backward(0, dh.copy())
    layer.weight_gradients(1, None)
    return dh_prev, layer.input_gradient(1)[0], layer.gradients["W"]


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_the_engine_makes_the_same_state_as_the_loops():
    for b in range(B):
        close(engine(W, h_prev, x).h[1, :, b], naive_forward(W, h_prev[:, b], x[:, b]))


def test_the_engine_gives_the_state_before_the_same_gradient():
    dh_prev, dx, dW = engine_backward()
    for b in range(B):
        close(dh_prev[:, b], naive_backward(W, h_prev[:, b], x[:, b], dh[:, b])[0])


def test_the_engine_gives_the_input_the_same_gradient():
    dh_prev, dx, dW = engine_backward()
    for b in range(B):
        close(dx[:, b], naive_backward(W, h_prev[:, b], x[:, b], dh[:, b])[1])


def test_the_engine_gives_the_weights_the_sum_over_the_batch():
    dh_prev, dx, dW = engine_backward()
    close(dW, sum(np.array(naive_backward(W, h_prev[:, b], x[:, b], dh[:, b])[2]) for b in range(B)))


def slope(f, at):
    """The derivative of the number f(at) by every entry of `at`, by the complex step of lesson 3."""
    return complex_step(lambda theta: f(theta.reshape(at.shape)), at.reshape(-1)).reshape(at.shape)


def test_the_complex_step_agrees_on_all_three():
    def loss(W, h_prev, x):
        """Σ dh ∘ h, whose gradient by h is dh."""
        return (dh * engine(W, h_prev, x).h[1]).sum()

    dh_prev, dx, dW = engine_backward()
    close(dh_prev, slope(lambda h_prev: loss(W, h_prev, x), h_prev))
    close(dx, slope(lambda x: loss(W, h_prev, x), x))
    close(dW, slope(lambda W: loss(W, h_prev, x), W))


def test_a_saturated_unit_learns_nothing_and_passes_nothing_back():
    heavy = W.copy()
    heavy[0, -1] = 50.0  # a bias that drives unit 0 to 1
    layer = engine(heavy, h_prev, x)
    only_unit_0 = np.zeros_like(dh)
    only_unit_0[0] = 1.0
    (dh_prev,) = layer.step_backward(0, only_unit_0)
    assert layer.h[1, 0].min() > 0.999999
    assert abs(dh_prev).max() < 1e-12


EXERCISE = """
In minichar/engine/rnn.py, in step_backward, change

    self.elementwise_backward(dh, self.h[t + 1], self.gates.da)

to

    self.elementwise_backward(dh, self.h[t], self.gates.da)

It takes the slope at the state before the step instead of the one after: one index off, no shape
is wrong, nothing crashes. What goes red?
"""

ANSWER = """
Everything that comes after da: test_the_engine_gives_the_state_before_the_same_gradient,
test_the_engine_gives_the_input_the_same_gradient,
test_the_engine_gives_the_weights_the_sum_over_the_batch,
test_the_complex_step_agrees_on_all_three and
test_a_saturated_unit_learns_nothing_and_passes_nothing_back. Only the forward pass stays green.
"""
