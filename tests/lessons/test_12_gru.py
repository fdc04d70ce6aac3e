"""Lesson 12. The GRU and its two resets: a blend of old and new, and where r comes in.

A GRU (Cho et al. 2014) has one state and no cell. It makes a candidate n and blends:

    h = (1 - z) ∘ n + z ∘ h_prev             z = 1 keeps the old state, z = 0 takes the new

Backward, each factor gets dh times the other one, as in the LSTM, and h_prev its first share:

    dz = dh ∘ (h_prev - n)        dn = dh ∘ (1 - z)        dh_prev = dh ∘ z + …
    da_z = dz ∘ z ∘ (1 - z)       da_n = dn ∘ (1 - n∘n)                            (lesson 4)

The candidate may ask that part of the past be forgotten: r, the reset gate, multiplies it. Two
versions of the paper put r in two places, and weights of one do not work in the other.

*Reset after* the product (PyTorch, cuDNN; our default). State and input have a matrix each:

    u = U [h_prev; 1]         a = W [x; 1]                     rows r, z, n
    r, z = σ(a_r + u_r), σ(a_z + u_z)
    n = tanh(a_n + r ∘ u_n)

    dr = da_n ∘ u_n           da_r = dr ∘ r ∘ (1 - r)
    du_n = da_n ∘ r           du_r, du_z = da_r, da_z          u and a meet as a sum: same gradient
    dh_prev += Uᵀ du          dx = Wᵀ da

*Reset before* the product (char-rnn). One matrix for the gates, another, Wn, for the candidate:

    a = W [h_prev; x; 1]      r, z = σ(a)                      rows r, z
    n = tanh(Wn [r ∘ h_prev; x; 1])

    [d_rh; dx] = Wnᵀ da_n     d_rh: the gradient of r ∘ h_prev
    dr = d_rh ∘ h_prev        da_r = dr ∘ r ∘ (1 - r)
    dh_prev += d_rh ∘ r       [dh_prev; dx] += Wᵀ [da_r; da_z]

So h_prev has three ways to the loss, by the blend, by the candidate and by the gates, and so three
shares. The first has no product in it: a z near 1 is the GRU's way of keeping a gradient alive.
"""

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.gradcheck import complex_step

H, D, B = 3, 4, 2
generator = np.random.default_rng(12)
h_prev, dh = generator.normal(size=(2, H, B))
x = generator.normal(size=(D, B))
one = np.ones((1, B))
cells = {reset: Config(7, "gru", H, gru_reset=reset).cell for reset in ("after", "before")}
weights = {  # U and W, or W and Wn
    reset: [generator.normal(size=shape) * 0.7 for shape in cell.shapes(H, D, 7).values()]
    for reset, cell in cells.items()
}


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def blend_backward(z, n):
    """da_z, da_n and the share of dh_prev that comes by the blend."""
    return dh * (h_prev - n) * z * (1 - z), dh * (1 - z) * (1 - n * n), dh * z


def after(U, W):
    """The gradients by hand: of h_prev, x, U and W."""
    s_h, s_x = np.array([*h_prev, *one]), np.array([*x, *one])  # [h_prev; 1] and [x; 1]
    u_r, u_z, u_n = (U @ s_h).reshape(3, H, B)
    a_r, a_z, a_n = (W @ s_x).reshape(3, H, B)
    r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
    n = np.tanh(a_n + r * u_n)
    da_z, da_n, by_blend = blend_backward(z, n)
    da_r = da_n * u_n * r * (1 - r)
    du = np.concatenate([da_r, da_z, da_n * r])
    da = np.concatenate([da_r, da_z, da_n])
    return by_blend + U[:, :-1].T @ du, W[:, :-1].T @ da, du @ s_h.T, da @ s_x.T


def before(W, Wn):
    """The gradients by hand: of h_prev, x, W and Wn."""
    s = np.array([*h_prev, *x, *one])
    r, z = sigmoid(W @ s).reshape(2, H, B)
    s_n = np.array([*(r * h_prev), *x, *one])
    n = np.tanh(Wn @ s_n)
    da_z, da_n, by_blend = blend_backward(z, n)
    d_rh, dx = np.split(Wn[:, :-1].T @ da_n, [H])
    da = np.concatenate([d_rh * h_prev * r * (1 - r), da_z])
    by_gates, dx_by_gates = np.split(W[:, :-1].T @ da, [H])
    return by_blend + d_rh * r + by_gates, dx + dx_by_gates, da @ s.T, da_n @ s_n.T


def engine(reset, h_prev, x, *weights):
    """The engine's layer, one step forward."""
    dtype = np.result_type(h_prev, x, *weights)  # complex if one of them is
    named = dict(zip(cells[reset].shapes(H, D, 7), (w.astype(dtype) for w in weights), strict=True))
    gradients = {name: np.zeros_like(w) for name, w in named.items()}
    layer = cells[reset](named, gradients, H, T=2, B=B, backend=CPU)
    layer.states[0][0], layer.x[0] = h_prev, x
    layer.step(0, None)
    return layer


def engine_backward(reset):
    layer = engine(reset, h_prev, x, *weights[reset])
    (dh_prev,) = layer.step_backward(0, dh.copy())
    layer.weight_gradients(1, None)
    return dh_prev, layer.input_gradient(1)[0], *layer.gradients.values()


def close(found, expected):
    for one_found, one_expected in zip(found, expected, strict=True):
        np.testing.assert_allclose(one_found, one_expected, rtol=1e-12, atol=1e-14)


def test_reset_after_the_product_the_engine_walks_back_as_derived():
    close(engine_backward("after"), after(*weights["after"]))


def test_reset_before_the_product_the_engine_walks_back_as_derived():
    close(engine_backward("before"), before(*weights["before"]))


@pytest.mark.parametrize("reset", ["after", "before"])
def test_the_complex_step_agrees_with_the_reset(reset):
    everything = [h_prev, x, *weights[reset]]

    def slope(number):
        """The gradient by one of them, entry by entry; the loss is Σ dh ∘ h, whose gradient by h is dh."""
        at = everything[number]

        def loss(theta):
            changed = [*everything[:number], theta.reshape(at.shape), *everything[number + 1 :]]
            return (dh * engine(reset, *changed).h[1]).sum()

        return complex_step(loss, at.reshape(-1)).reshape(at.shape)

    close(engine_backward(reset), [slope(number) for number in range(4)])


def with_bias_of_reset(bias):
    """The state that either cell makes from the same weights, but for the bias of r."""
    U, W = (w.copy() for w in weights["after"])
    W[:H, -1], U[2 * H :, -1] = bias, 0.0  # no bias inside the reset: only one of the two has it
    both = np.concatenate([U[:, :-1], W[:, :-1], U[:, -1:] + W[:, -1:]], axis=1)
    after, before = (
        engine("after", h_prev, x, U, W),
        engine("before", h_prev, x, both[: 2 * H], both[2 * H :]),
    )
    return after.h[1], before.h[1]


def test_with_the_reset_wide_open_or_shut_the_two_are_the_same_cell():
    for bias in (-50.0, 50.0):
        close(*with_bias_of_reset(bias))


def test_with_the_reset_half_open_they_are_not():
    assert abs(np.subtract(*with_bias_of_reset(0.0))).max() > 1e-2


EXERCISE = """
In minichar/engine/gru.py, in the backward pass, change

    xp.multiply(da_r, u_n, out=da_r)

to

    xp.multiply(da_r, h_prev, out=da_r)

as if the reset gate acted on the state itself, which is what it does in the other variant. What
goes red, and would training with this gradient have crashed?
"""

ANSWER = """
test_reset_after_the_product_the_engine_walks_back_as_derived and
test_the_complex_step_agrees_with_the_reset, this one for "after" alone. Nothing would have crashed:
all three arrays have the same shape, and the network would have learned, only less well.
"""
