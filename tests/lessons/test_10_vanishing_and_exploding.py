"""Lesson 10. Vanishing and exploding: a product of a hundred derivatives, and what clipping does.

How much does an input from 100 steps ago affect the current loss? Its gradient has one factor for
every step in between (lesson 8). In an RNN (lesson 7),

    da_t     = dh_t ∘ (1 - h_t ∘ h_t)
    dh_{t-1} = W_hᵀ @ da_t
    dx_t     = W_xᵀ @ da_t

A product of 100 similar factors is either tiny or huge: 0.9¹⁰⁰ is 3e-5, and 1.1¹⁰⁰ is 1e4. The
following table was measured on untrained networks with 64 units and a loss at the last step only.
Each value is the norm of the second layer's dx that many steps back, relative to its norm at the
last step:

    steps back               1         10         50        100
    RNN                3.6e-01    3.7e-05    5.4e-22    6.6e-43
    LSTM, bias 0       5.1e-01    2.5e-03    1.2e-12    2.4e-24
    LSTM, bias 1       7.3e-01    7.3e-02    2.1e-05    6.7e-10
    LSTM, bias 5       2.9e-01    2.9e-01    5.4e-01    9.6e+00
    GRU                5.1e-01    2.9e-03    1.2e-12    2.4e-24
    RNN, large W       1.3e+00    1.5e+01    6.7e+05    1.2e+12

The RNN's gradient shrinks by about 60% at every step. After 20 steps, it is below the rounding
error of float32 and has hardly any effect on training. An LSTM has a second path, along its cell
state (lesson 11):

    c_t = f ∘ c_{t-1} + …      so      dc_{t-1} = dc_t ∘ f + …

The only factor on this path is the gate: there is no W_hᵀ, and no derivative of tanh. With f = 1,
nothing would be lost. Initial weights are small, so a gate starts near the sigmoid of its bias: 0.5
for a forget bias of 0, 0.73 for the usual 1, and 0.99 for 5. In a GRU, z plays the role of f and
starts near 0.5. With the usual biases, gradients still vanish, but a gate controls how fast, so the
network can *learn* what to keep and for how long.

The factors in the table, about 0.58 per step for a bias of 0 and 0.81 for a bias of 1, are larger
than these gates, because some of the gradient also passes through h. Without W_h, they equal the
gates.

With a bias of 5, c becomes large. Most of dx at the last step then passes through the output gate,
which is not on this path. At earlier steps, almost nothing is lost, and the path through h makes
the gradient grow.

Large recurrent weights have the opposite effect. In the last row, the gradient explodes, and an
update of that size would destroy the weights. So gradients are *clipped* first, by norm (Pascanu,
Mikolov & Bengio 2013) or by element (Mikolov 2012):

    by norm      g ← g · min(1, limit / ‖g‖)        shorter, but in the same direction
    by element   g ← min(max(g, -limit), limit)     the direction may change

Clipping turns a huge update into a small one. It does not prevent vanishing gradients, because it
never makes a gradient larger.
"""

from functools import cache

import numpy as np
import pytest

from minichar.engine.config import Config, initialise
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters
from minichar.training import optimiser

H, V, T, B = 64, 20, 101, 4


def lengths(model, forget_bias=None, recurrent=None, o_reads_x=True):
    """Return the norm of dx in an untrained layer 2 by steps before the loss, relative to 0 steps."""
    generator = np.random.default_rng(1)
    config = Config(V, model, H, num_layers=2)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, generator)
    if forget_bias is not None:
        parameters["layer2.W"][H : 2 * H, -1] = forget_bias
    if not o_reads_x:
        parameters["layer2.W"][2 * H : 3 * H, H:-1] = 0
    if recurrent is not None:  # scaled so that W_h multiplies a vector's norm by about this factor
        parameters["layer2.W"][:, :H] = generator.normal(size=(H, H)) * recurrent / np.sqrt(H)
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
        "LSTM, bias 0": lengths("lstm", forget_bias=0),
        "LSTM, bias 1": lengths("lstm"),
        "LSTM, bias 5": lengths("lstm", forget_bias=5),
        "GRU": lengths("gru"),
        "RNN, large W": lengths("rnn", recurrent=3.0),
    }


def test_the_table_matches_the_engine():
    found = {}
    for name, row in measured().items():
        found[name] = [row[n] for n in (1, 10, 50, 100)]
        print(f"\n    {name:13}" + "".join(f"{length:11.1e}" for length in found[name]), end="  ")
    table = {line[4:17].strip(): line[17:].split() for line in __doc__.splitlines()}
    for name, row in found.items():
        assert [float(word) for word in table[name]] == pytest.approx(row, rel=0.3)


def test_in_an_untrained_rnn_the_gradient_shrinks_by_the_same_factor_at_every_step():
    logs = np.log10(measured()["RNN"])
    assert logs[100] < -30
    assert logs[100] - logs[50] == pytest.approx(logs[50] - logs[0], rel=0.1)


def test_the_gradient_shrinks_less_in_an_untrained_gru_and_least_in_an_untrained_lstm():
    assert measured()["LSTM, bias 1"][100] > 1e6 * measured()["GRU"][100]
    assert measured()["GRU"][100] > 1e6 * measured()["RNN"][100]


def test_the_forget_bias_determines_how_long_an_lstm_remembers():
    for bias in (0, 1, 5):
        row = measured()[f"LSTM, bias {bias}"]
        factor = (row[60] / row[20]) ** (1 / 40)
        assert factor == pytest.approx(1 / (1 + np.exp(-bias)), rel=0.2)  # close to f
    assert measured()["LSTM, bias 5"][1] < 0.3
    assert lengths("lstm", forget_bias=5, o_reads_x=False)[1] > 0.95


def test_with_large_recurrent_weights_the_gradient_explodes():
    assert measured()["RNN, large W"][100] > 1e10


def test_clipping_by_norm_shortens_the_gradient_and_keeps_its_direction():
    g = np.array([30.0, -40.0])  # length 50
    optimiser.clip_norm(np, g, 5.0)
    np.testing.assert_allclose(g, [3.0, -4.0])


def test_clipping_by_element_changes_the_direction():
    g = np.array([3.0, -40.0])
    optimiser.clip_elements(np, g, 5.0)
    np.testing.assert_array_equal(g, [3.0, -5.0])


@pytest.mark.parametrize("clip", [optimiser.clip_norm, optimiser.clip_elements])
def test_clipping_does_not_change_a_short_gradient_and_so_does_not_prevent_vanishing(clip):
    g = np.array([1e-20, -3.0])
    clip(np, g, 5.0)
    np.testing.assert_array_equal(g, [1e-20, -3.0])


EXERCISE = """
In tests/lessons/test_10_vanishing_and_exploding.py, in lengths, change

    parameters["layer2.W"][H : 2 * H, -1] = forget_bias

to

    parameters["layer2.W"][:H, -1] = forget_bias

These rows belong to the input gate. Before you run the lesson, guess whether an LSTM with a
wide-open input gate also remembers longer.
"""

ANSWER = """
No. The input gate controls what is written to the cell state. The forget gate controls how long it
is kept, and dc_{t-1} = dc_t ∘ f does not contain i.
test_the_forget_bias_determines_how_long_an_lstm_remembers and test_the_table_matches_the_engine
fail.
"""
