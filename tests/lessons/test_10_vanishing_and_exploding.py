"""Lesson 10. Vanishing and exploding: a hundred slopes multiplied, and what clipping does.

How much does a state from 100 steps ago matter for the loss now? By lesson 8 its gradient is the
gradient now, times one factor for each step between:

    dh_{t-1} = Wᵀ (dh_t ∘ (1 - h_t∘h_t))                in an RNN (lesson 7)

A product of 100 similar factors is nothing or enormous: 0.9¹⁰⁰ is 3e-5, 1.1¹⁰⁰ is 1e4. Here
fresh networks of 64 units are measured. A gradient of length 1 at the last step has, further back,
the length (in an LSTM, of h and c together):

    steps back               1       10       50      100
    RNN                3.7e-01  6.4e-05  4.2e-21  4.5e-41
    LSTM, bias 0       2.6e-01  1.2e-03  4.8e-13  1.3e-24
    LSTM, bias 1       3.7e-01  3.5e-02  7.2e-06  3.2e-10
    LSTM, bias 5       1.5e-01  1.1e-01  1.4e-01  1.3e+00
    GRU                5.1e-01  2.7e-03  3.8e-12  6.3e-23
    RNN, large W       1.5e+00  6.5e+00  9.8e+05  1.2e+13

The RNN loses 60 % at every step. Twenty steps back, its gradient drowns in the rounding of float32:
it cannot learn from there. An LSTM has a second way back, along the cell (lesson 11):

    c_t = f ∘ c_{t-1} + …      so      dc_{t-1} = dc_t ∘ f + …      no Wᵀ, no tanh, only the gate

With f = 1 nothing would be lost at all. With bias 0 a fresh gate stands at σ(0) = 0.5; so its bias
is set to 1, σ(1) = 0.73; at 5, σ(5) = 0.99. (The way through h adds a bit to each.) A GRU's z does
what f does, and starts at 0.5. The gain is not that gradients never vanish. It is that what decides
is now a gate, so a network can *learn* what to keep, and how long.

Large recurrent weights do the reverse: in the last row the gradient explodes. Nobody wants a step
of 1e13, so a gradient is *clipped* before it is used (Pascanu, Mikolov & Bengio 2013):

    by norm       g ← g · min(1, limit / ‖g‖)           shorter, but in the same direction
    by element    g ← min(max(g, -limit), limit)        each entry by itself: the direction turns

Clipping makes an enormous step a small one. It is no cure for vanishing: it never makes 0 larger.
"""

from functools import cache

import numpy as np
import pytest

from minichar.engine.config import Config, initialise
from minichar.engine.network import Network, teacher_forcing
from minichar.engine.parameters import Parameters
from minichar.training.optimiser import clip_elements, clip_norm

H, V, T, B = 64, 20, 100, 4


def lengths(model, forget_bias=None, recurrent=None):
    """Lengths of the gradient of the states, 0 … T steps back, in a fresh network of one layer."""
    generator = np.random.default_rng(1)
    config = Config(V, model, H, num_layers=1)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, generator)
    if forget_bias is not None:
        parameters["layer1.W"][H : 2 * H, -1] = forget_bias
    if recurrent is not None:  # of such a size that a product by W lengthens by about `recurrent`
        parameters["layer1.W"][:, :H] = generator.normal(size=(H, H)) * recurrent / np.sqrt(H)
    network = Network(config, parameters, T, B)
    network.forward(teacher_forcing(generator.integers(V, size=(T, B))))
    layer = network.layers[0]
    dstates = [np.zeros((H, B)) for _ in layer.states]
    dstates[0][...] = generator.normal(size=(H, B))
    dstates[0] /= np.linalg.norm(dstates[0])
    found = [1.0]
    for t in reversed(range(T)):
        dstates = [d.copy() for d in layer.step_backward(t, *dstates)]
        found.append(np.sqrt(sum((d**2).sum() for d in dstates)))
    return found


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


def test_the_table_of_lengths_is_what_the_engine_does():
    for line in __doc__.splitlines():
        name = line[4:17].strip()
        if name in measured():
            found = [measured()[name][n] for n in (1, 10, 50, 100)]
            print(f"\n    {name:13}" + "".join(f"{length:11.1e}" for length in found), end="  ")
            assert [float(word) for word in line[17:].split()] == pytest.approx(found, rel=0.3)


def test_in_a_fresh_rnn_the_gradient_vanishes_by_the_same_factor_every_step():
    logs = np.log10(measured()["RNN"])
    assert logs[100] < -30
    assert logs[100] - logs[50] == pytest.approx(logs[50] - logs[0], rel=0.1)


def test_a_fresh_gru_and_an_lstm_keep_more_of_it():
    assert measured()["LSTM, bias 1"][100] > 1e6 * measured()["GRU"][100]
    assert measured()["GRU"][100] > 1e6 * measured()["RNN"][100]


def test_the_forget_bias_decides_how_long_an_lstm_remembers():
    for bias in (0, 1, 5):
        found = measured()[f"LSTM, bias {bias}"]
        a_step = (found[60] / found[20]) ** (1 / 40)
        assert a_step == pytest.approx(1 / (1 + np.exp(-bias)), rel=0.2)  # about f itself


def test_with_large_recurrent_weights_the_gradient_explodes():
    assert measured()["RNN, large W"][100] > 1e10


def test_clipping_by_norm_shortens_and_does_not_turn():
    g = np.array([30.0, -40.0])  # length 50
    clip_norm(np, g, 5.0)
    np.testing.assert_allclose(g, [3.0, -4.0])


def test_clipping_by_element_turns():
    g = np.array([3.0, -40.0])
    clip_elements(np, g, 5.0)
    np.testing.assert_array_equal(g, [3.0, -5.0])


@pytest.mark.parametrize("clip", [clip_norm, clip_elements])
def test_neither_touches_a_short_gradient_so_neither_helps_one_that_vanished(clip):
    g = np.array([1e-20, -3.0])
    clip(np, g, 5.0)
    np.testing.assert_array_equal(g, [1e-20, -3.0])


EXERCISE = """
In tests/lessons/test_10_vanishing_and_exploding.py, in lengths, change

    parameters["layer1.W"][H : 2 * H, -1] = forget_bias

to

    parameters["layer1.W"][:H, -1] = forget_bias

These rows are the input gate's. Guess first: does an LSTM whose input gate is wide open remember
longer too?
"""

ANSWER = """
test_the_forget_bias_decides_how_long_an_lstm_remembers and
test_the_table_of_lengths_is_what_the_engine_does. The input gate decides what is written into the cell;
how long it stays there is the forget gate's affair. The product in dc_{t-1} = dc_t ∘ f has no i.
"""
