"""Lesson 12. The GRU and its two variants: a blend of old and new, and where to apply the reset gate.

An LSTM has two states and three gates. Does it take that much to remember? A GRU (Cho et al. 2014)
has a hidden state but no cell state, and two gates. The update gate z blends the old state with a
candidate n. With z = 1, the cell keeps the old state; with z = 0, the candidate becomes the new
state. The reset gate r lets the candidate ignore part of the past. Two versions of the paper apply
it at different points, and weights trained with one variant do not work with the other.

[figure: gru]

*Reset gate applied after the matrix product* (PyTorch, cuDNN, and minichar's default). The state
and the input have separate weight matrices, whose columns without the bias are U_h and W_x:

    u = U @ [h_prev; 1]                      rows r, z, n
    a = W @ [x; 1]                           rows r, z, n
    r, z = σ(a_r + u_r), σ(a_z + u_z)
    n = tanh(a_n + r ∘ u_n)
    h = (1 - z) ∘ n + z ∘ h_prev

[figure: gru.svg]

The backward pass differentiates the last line first:

    h = (1 - z) ∘ n + z ∘ h_prev
        dn, dz, dh_prev = dh ∘ (1 - z), dh ∘ (h_prev - n), dh ∘ z
    n = tanh(a_n + r ∘ u_n)
        da_n = dn ∘ (1 - n ∘ n)
        dr, du_n = da_n ∘ u_n, da_n ∘ r
    r, z = σ(a_r + u_r), σ(a_z + u_z)
        da_r, da_z = dr ∘ r ∘ (1 - r), dz ∘ z ∘ (1 - z)
        du_r, du_z = da_r, da_z              both terms of a sum have the same gradient
    u, a = U @ [h_prev; 1], W @ [x; 1]
        dU, dW = du @ [h_prev; 1]ᵀ, da @ [x; 1]ᵀ
        dh_prev ← dh_prev + U_hᵀ @ du
        dx = W_xᵀ @ da

[figure: gru_backward.svg]

*Reset gate applied before the matrix product* (char-rnn). The new matrix Wn has columns Wn_h, Wn_x:

    a = W @ [h_prev; x; 1]                   rows r, z
    r, z = σ(a_r), σ(a_z)
    rh = r ∘ h_prev
    a_n = Wn @ [rh; x; 1]
    n = tanh(a_n)
    h = (1 - z) ∘ n + z ∘ h_prev

Its backward pass:

    h = (1 - z) ∘ n + z ∘ h_prev
        dn, dz, dh_prev = dh ∘ (1 - z), dh ∘ (h_prev - n), dh ∘ z
    n = tanh(a_n)
        da_n = dn ∘ (1 - n ∘ n)
    a_n = Wn @ [rh; x; 1]
        drh, dWn = Wn_hᵀ @ da_n, da_n @ [rh; x; 1]ᵀ
    rh = r ∘ h_prev
        dr = drh ∘ h_prev
        dh_prev ← dh_prev + drh ∘ r
    r, z = σ(a_r), σ(a_z)
        da_r, da_z = dr ∘ r ∘ (1 - r), dz ∘ z ∘ (1 - z)
    a = W @ [h_prev; x; 1]
        dW = da @ [h_prev; x; 1]ᵀ
        dh_prev ← dh_prev + W_hᵀ @ da
        dx = W_xᵀ @ da + Wn_xᵀ @ da_n

In both variants, h_prev affects the loss through the blend, the candidate and the gates, so dh_prev
is a sum of three terms (in the first variant, U_hᵀ @ du contains the last two). The first, dh ∘ z,
involves no matrix product: where z is near 1, the gradient passes to the previous step unchanged.

Here are both passes for a single unit of the first variant, rounded to four decimal places, with
h_prev = 0.3, x = 1 and dh = 1. The biases of W are 0:

    row    U_h   bias        u    W_x         a
    r      0.4    0.0   0.1200    0.4    0.4000
    z      0.3    0.0   0.0900    0.1    0.1000
    n      0.6    0.2   0.3800   -0.5   -0.5000

    r = σ(a_r + u_r) = σ(0.52) = 0.6271
    z = σ(a_z + u_z) = σ(0.19) = 0.5474
    a_n + r u_n = -0.2617
    n = tanh(-0.2617) = -0.2559
    h = (1 - z) n + z h_prev = 0.0484

    dn = dh (1 - z) = 0.4526
    dz = dh (h_prev - n) = 0.5559
    da_n = dn (1 - n²) = 0.4230
    dr = da_n u_n = 0.1607
    du_n = da_n r = 0.2653
    da_r = dr r (1 - r) = 0.0376
    da_z = dz z (1 - z) = 0.1377

    row        du       da   U_h du    W_x da
    r      0.0376   0.0376   0.0150    0.0150
    z      0.1377   0.1377   0.0413    0.0138
    n      0.2653   0.4230   0.1592   -0.2115

The column U_h du adds up to 0.2155. With the first term, dh z = 0.5474, dh_prev is 0.7629. The last
column adds up to dx = -0.1827.

Which cell preserves the gradient? This was measured on untrained networks with two layers of 64
units. As in lesson 10, the loss is at the last step only, and each value is the norm of the second
layer's dx that many steps back, relative to its norm at the last step. The forget bias is in
brackets:

    steps                    1         10         50        100
    RNN                3.6e-01    3.7e-05    5.4e-22    6.6e-43
    GRU                5.1e-01    2.9e-03    1.2e-12    2.4e-24
    LSTM (0)           5.1e-01    2.5e-03    1.2e-12    2.4e-24
    LSTM (1)           7.3e-01    7.3e-02    2.1e-05    6.7e-10
    LSTM (5)           2.9e-01    2.9e-01    5.4e-01    9.6e+00

[figure: vanishing.svg]

Initial weights are small, so a gate starts near the sigmoid of its bias: z and, with a forget bias
of 0, f start near 0.5, so a GRU begins like an LSTM with a bias of 0. With the usual bias of 1, f
starts at 0.73, and with 5 at 0.99. The factor per step, the 100th root of the last column, is 0.58
for a bias of 0 and 0.81 for a bias of 1. These are larger than the gates, because some of the
gradient also passes through h. Except with a bias of 5, gradients still vanish, but now a gate
decides how fast, and the network can *learn* what to keep and for how long.

With a bias of 5, c becomes large. Most of dx at the last step then passes through the output gate,
which is not on the path along c. At earlier steps, almost nothing is lost, and the path through h
makes the gradient grow.
"""

from functools import cache

import numpy as np
import pytest

from minichar.engine import gru, gru_reset_before
from minichar.engine.config import Config, initialise
from minichar.engine.gradcheck import complex_step
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters

H, D, B = 3, 4, 2
generator = np.random.default_rng(12)
h_prev, dh = generator.normal(size=(2, H, B))
x = generator.normal(size=(D, B))
one = np.ones((1, B))
U, W = generator.normal(size=(3 * H, H + 1)), generator.normal(size=(3 * H, D + 1))
W_rz, Wn = generator.normal(size=(2 * H, H + D + 1)), generator.normal(size=(H, H + D + 1))


def after(h_prev, x, U, W):
    u, a = U @ np.concatenate([h_prev, one]), W @ np.concatenate([x, one])
    return gru.forward(np, u.reshape(3, H, B), a.reshape(3, H, B), h_prev)


def after_backward(h_prev, x, U, W):
    """Return the gradients with respect to h_prev, x, U and W."""
    h, cache = after(h_prev, x, U, W)
    du, da, dh_prev = gru.backward(np, dh, cache)
    du, da = np.concatenate(du), np.concatenate(da)  # each (3H, B)
    dh_prev = dh_prev + U[:, :-1].T @ du
    dx = W[:, :-1].T @ da
    return dh_prev, dx, du @ np.concatenate([h_prev, one]).T, da @ np.concatenate([x, one]).T


def before(h_prev, x, W, Wn):
    a = (W @ np.concatenate([h_prev, x, one])).reshape(2, H, B)
    rh, z, _, reset_cache = gru_reset_before.reset(np, a, h_prev)
    a_n = Wn @ np.concatenate([rh, x, one])
    h, update_cache = gru_reset_before.update(np, (a_n,), z, h_prev)
    return h, reset_cache, update_cache, rh


def before_backward(h_prev, x, W, Wn):
    """Return the gradients with respect to h_prev, x, W and Wn."""
    h, reset_cache, update_cache, rh = before(h_prev, x, W, Wn)
    (da_n,), dz, dh_prev = gru_reset_before.update_backward(np, dh, update_cache)
    drh = Wn[:, :H].T @ da_n
    da, dh_prev = gru_reset_before.reset_backward(np, drh, dz, dh_prev, reset_cache)
    da = np.concatenate(da)  # (2H, B)
    dh_prev = dh_prev + W[:, :H].T @ da
    dx = W[:, H:-1].T @ da + Wn[:, H:-1].T @ da_n
    dW, dWn = da @ np.concatenate([h_prev, x, one]).T, da_n @ np.concatenate([rh, x, one]).T
    return dh_prev, dx, dW, dWn


def by_complex_step(forward, arguments):
    """Yield the gradient of the loss Σ dh ∘ h with respect to each argument."""
    for k, at in enumerate(arguments):

        def loss(theta, k=k, at=at):
            return (dh * forward(*arguments[:k], theta.reshape(at.shape), *arguments[k + 1 :])[0]).sum()

        yield complex_step(loss, at.reshape(-1)).reshape(at.shape)


def lengths(model, forget_bias=None, o_reads_x=True):
    """Return the norm of dx in an untrained layer 2 by steps before the loss, relative to 0 steps."""
    H, V, T, B = 64, 20, 101, 4
    generator = np.random.default_rng(1)
    config = Config(V, model, H, num_layers=2)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, generator)
    if forget_bias is not None:
        parameters["layer2.W"][H : 2 * H, -1] = forget_bias
    if not o_reads_x:
        parameters["layer2.W"][2 * H : 3 * H, H:-1] = 0
    network = Network(config, parameters, T, B)
    network.forward(generator.integers(V, size=(T, B)))
    dh_above = np.zeros((T, H, B))
    dh_above[-1] = generator.normal(size=(H, B))
    layer = network.layers[1]
    layer.backward(slice(0, T), dh_above)
    layer.gradients(slice(0, T), T, ids=None)
    backwards = np.linalg.norm(layer.readers[0].dx, axis=(1, 2))[::-1]
    return backwards / backwards[0]


@cache
def measured():
    return {
        "RNN": lengths("rnn"),
        "GRU": lengths("gru"),
        "LSTM (0)": lengths("lstm", forget_bias=0),
        "LSTM (1)": lengths("lstm"),
        "LSTM (5)": lengths("lstm", forget_bias=5),
    }


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_the_complex_step_agrees_if_the_reset_gate_is_applied_after_the_product():
    arguments = (h_prev, x, U, W)
    for found, expected in zip(after_backward(*arguments), by_complex_step(after, arguments), strict=True):
        close(found, expected)


def test_the_complex_step_agrees_if_the_reset_gate_is_applied_before_the_product():
    arguments = (h_prev, x, W_rz, Wn)
    for found, expected in zip(before_backward(*arguments), by_complex_step(before, arguments), strict=True):
        close(found, expected)


def test_the_worked_example_matches_the_engine():
    U, W = np.array([[0.4, 0.0], [0.3, 0.0], [0.6, 0.2]]), np.array([0.4, 0.1, -0.5])
    u, a, h_prev = U @ [0.3, 1.0], W, 0.3
    h, cache = gru.forward(np, u, a, h_prev)
    du, da, dh_z = gru.backward(np, 1.0, cache)
    r, z, n, u_n, _ = cache
    terms = U[:, 0] * du
    above = below = ""
    for k, gate in enumerate("rzn"):
        above += f"    {gate}      {U[k, 0]}    {U[k, 1]}   {u[k]:.4f}   {W[k]:4}   {a[k]:7.4f}\n"
        below += f"    {gate}      {du[k]:.4f}   {da[k]:.4f}   {terms[k]:.4f}   {W[k] * da[k]:7.4f}\n"
    for words in (
        above,
        below,
        f"r = σ(a_r + u_r) = σ({a[0] + u[0]:.2f}) = {r:.4f}\n",
        f"z = σ(a_z + u_z) = σ({a[1] + u[1]:.2f}) = {z:.4f}\n",
        "a_n + r u_n = {0:.4f}\n    n = tanh({0:.4f}) = {1:.4f}\n".format(a[2] + r * u_n, n),
        f"h = (1 - z) n + z h_prev = {h:.4f}\n",
        f"dn = dh (1 - z) = {1 - z:.4f}\n",
        f"dz = dh (h_prev - n) = {h_prev - n:.4f}\n",
        f"da_n = dn (1 - n²) = {da[2]:.4f}\n",
        f"dr = da_n u_n = {da[2] * u_n:.4f}\n",
        f"du_n = da_n r = {du[2]:.4f}\n",
        f"da_r = dr r (1 - r) = {da[0]:.4f}\n",
        f"da_z = dz z (1 - z) = {da[1]:.4f}\n",
        f"adds up to {terms.sum():.4f}. With the first term, dh z = {dh_z:.4f}, dh_prev is ",
        f"dh_prev is {dh_z + terms.sum():.4f}.",
        f"dx = {W @ da:.4f}.",
    ):
        assert words in __doc__


def test_an_update_gate_of_1_keeps_the_state_and_its_gradient():
    kept = W.copy()
    kept[H : 2 * H, -1] = 50.0
    close(after(h_prev, x, U, kept)[0], h_prev)
    close(after_backward(h_prev, x, U, kept)[0], dh)


def with_reset_bias(bias):
    """Return both variants' new states, computed with the same weights and with `bias` as the bias of r."""
    U_same, W_same = U.copy(), W.copy()
    W_same[:H, -1], U_same[2 * H :, -1] = bias, 0.0  # only one variant multiplies a bias by r
    both = np.concatenate([U_same[:, :-1], W_same[:, :-1], U_same[:, -1:] + W_same[:, -1:]], axis=1)
    return after(h_prev, x, U_same, W_same)[0], before(h_prev, x, both[: 2 * H], both[2 * H :])[0]


def test_both_variants_agree_if_the_reset_gate_is_fully_open_or_closed():
    for bias in (-50.0, 50.0):
        close(*with_reset_bias(bias))


def test_the_variants_differ_if_the_reset_gate_is_half_open():
    assert abs(np.subtract(*with_reset_bias(0.0))).max() > 1e-2


def test_the_table_of_gradients_matches_the_engine():
    table = {line[4:17].strip(): line[17:].split() for line in __doc__.splitlines()}
    for name, row in measured().items():
        found = [row[n] for n in (1, 10, 50, 100)]
        assert [float(word) for word in table[name]] == pytest.approx(found, rel=0.3)
    for name, factor in (("LSTM (0)", "0.58\nfor a bias of 0"), ("LSTM (1)", "0.81 for a bias of 1")):
        assert f"{float(table[name][-1]) ** 0.01:.2f}" == factor[:4]
        assert factor in __doc__


def test_the_gradient_shrinks_less_in_an_untrained_gru_and_least_in_an_untrained_lstm():
    assert measured()["LSTM (1)"][100] > 1e6 * measured()["GRU"][100]
    assert measured()["GRU"][100] > 1e6 * measured()["RNN"][100]


def test_the_forget_bias_determines_how_long_an_lstm_remembers():
    for bias in (0, 1, 5):
        row = measured()[f"LSTM ({bias})"]
        factor = (row[60] / row[20]) ** (1 / 40)
        assert factor == pytest.approx(1 / (1 + np.exp(-bias)), rel=0.2)  # close to f
    assert measured()["LSTM (5)"][1] < 0.3
    assert lengths("lstm", forget_bias=5, o_reads_x=False)[1] > 0.95


WRITE = ("gru.forward", "gru.backward")

EXERCISE = """
In minichar/engine/gru.py, in backward, change

    dr, du_n = da_n * u_n, da_n * r

to

    dr, du_n = da_n * h_prev, da_n * r

In the other variant, the reset gate does scale the state. Which tests fail? Would training crash?
"""

ANSWER = """
test_the_complex_step_agrees_if_the_reset_gate_is_applied_after_the_product and
test_the_worked_example_matches_the_engine fail. Training would not crash, because u_n and h_prev
have the same shape. The network would still train, just not as well. The test of the update gate
passes, because with z = 1 the candidate's gradient is 0.
"""
