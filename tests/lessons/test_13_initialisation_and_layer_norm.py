"""Lesson 13. Initialisation and layer norm: how large a pre-activation should be.

Training has to start from some weights. Why not 0? And if they must be random, does it matter how
large they are? Their size determines whether the network can be trained at all.

With weights of 0, all units have the same value, gradient and update. A network of 128 units then
remains a network of one. Random weights make the units different.

How large? A pre-activation is a sum over K inputs, a = Σ_k W_k s_k. If the weights are independent
and have mean 0, the variances of the K terms add up:

    var(a) = K · var(W) · mean(s²)

A number drawn uniformly from an interval of width 2b around 0 has variance b²/3, so b² = 3/K
would keep the scale: mean(a²) = mean(s²). Larger weights push tanh and σ into saturation, where
their derivatives are almost 0 (lesson 3). Smaller ones weaken the signal from layer to layer and
from step to step. In a recurrent network, a scale that is slightly wrong compounds at every step,
as the figure from lesson 10, repeated below, shows.

[figure: scale.svg]

minichar draws weights from [-0.08, 0.08), like char-rnn. The logits of an untrained network are
then close to 0, and its first loss is close to log V, the uniform loss (lesson 0). If your first
loss is not log V, look for a bug before you look at anything else.

[figure: vanishing_and_exploding]

*Layer normalisation* (Ba, Kiros & Hinton 2016) leaves nothing to chance. It measures the scale of
the pre-activations and corrects it, at every step and for every gate. The means are over the H
units:

    μ = mean(a)
    r = 1 / √(mean((a - μ)²) + ε)    where ε = 1e-5 avoids a division by 0
    â = r (a - μ)

The cell receives â, which has mean 0 and variance 1, instead of a. Doubling all weights doubles
every a_k and halves r, and nothing else changes.

Now the backward pass. Each a_k affects all of â, through three paths: directly, through μ and
through r. Since μ is a mean, its derivative with respect to a_k is 1/H. For r, the chain rule gives

    dr/da_k = -r² â_k / H

because ½, from the exponent, and 2, from the square, cancel, and the a_j - μ add up to 0, so μ in r
contributes nothing. Multiply by dâ and add up:

    da_k  = r dâ_k                           directly
    da_k += -r mean(dâ)                      through μ
    da_k += -Σ_j dâ_j (a_j - μ) r² â_k / H   through r

The last sum is

    Σ_j dâ_j (a_j - μ) r² â_k / H = r â_k mean(dâ ∘ â)

and all units together have the gradient

    da = r (dâ - mean(dâ) - â mean(dâ ∘ â))

The last two terms remove from dâ what could have no effect: a common shift of all a, and a common
factor. Here are both passes for four units, with dâ = 1 for the second:

    a           1.0000    3.0000   -2.0000    2.0000
    a - μ       0.0000    2.0000   -3.0000    1.0000
    â           0.0000    1.0690   -1.6036    0.5345
    da         -0.1336    0.2482    0.0954   -0.2100

with μ = 1, r = 0.5345, mean(dâ) = 0.25 and mean(dâ ∘ â) = 0.2673.

Does it help? Multiply all initial weights of a two-layer RNN by the same factor. The table shows
√(mean(h²)) in layer 2, and the norm of dx 20 steps before the loss relative to its norm at the
loss:

    weights          h   20 steps back    h, normalised   20 steps back
    0.1         0.0046         2.2e-29             0.62         7.7e-03
    1            0.057         2.1e-09             0.62         7.6e-03
    3             0.57         2.2e-02             0.62         7.6e-03
    10            0.92         5.5e+01             0.62         7.6e-03
    30            0.98         1.0e+05             0.62         7.6e-03

On the left, only a narrow range of factors is usable. On the right, it has almost no effect.

There is one catch. A constant added to all pre-activations of a gate is part of μ and cancels out.
One such constant is the forget bias of 1 that helps an LSTM remember (lesson 11).
"""

from functools import cache
from math import log, sqrt

import numpy as np

from minichar.engine import layer_norm
from minichar.engine.config import Config, initialise
from minichar.engine.gradcheck import check_network, complex_step, toy_network
from minichar.engine.network import Network
from minichar.engine.parameters import Parameters

H, V, T, B = 64, 20, 21, 4
generator = np.random.default_rng(13)
FACTORS = (0.1, 1, 3, 10, 30)


def mean(a):
    return a.mean(axis=-2, keepdims=True)  # over the units of a (gates, H, B)


def normalise(a):
    """Return ``(â, r)`` of the units ``(H, B)`` of one gate, computed by the engine."""
    a_hat, r = layer_norm.forward(np, mean, a)
    return a_hat, r


def normalise_backward(da_hat, a_hat, r):
    (da,) = layer_norm.backward(np, mean, da_hat, a_hat, r)
    return da


def untrained(factor, **options):
    """Return an RNN whose initial weights are multiplied by `factor`, after it has read T characters."""
    generator = np.random.default_rng(1)
    config = Config(V, rnn_size=H, num_layers=2, **options)
    parameters = Parameters(config.shapes(), "float64")
    initialise(config, parameters, generator)
    parameters.flat[...] *= factor
    network = Network(config, parameters, T, B)
    network.forward(generator.integers(V, size=(T, B)))
    return network, generator


@cache
def measured(factor, layer_norm):
    """Return the root mean square of h in layer 2, and the norm of dx 20 steps before the loss."""
    network, generator = untrained(factor, model="rnn", layer_norm=layer_norm)
    layer, dh_above = network.layers[1], np.zeros((T, H, B))
    dh_above[-1] = generator.normal(size=(H, B))
    layer.backward(slice(0, T), dh_above)
    layer.gradients(slice(0, T), T, ids=None)
    backwards = np.linalg.norm(layer.readers[0].dx, axis=(1, 2))[::-1]
    return sqrt((layer.states[T][0] ** 2).mean()), backwards[20] / backwards[0]


def test_the_numbers_in_the_text():
    a = np.array([1.0, 3.0, -2.0, 2.0])[:, None]
    da_hat = np.array([0.0, 1.0, 0.0, 0.0])[:, None]
    a_hat, r = normalise(a)
    rows = {"a": a, "a - μ": a - a.mean(), "â": a_hat, "da": normalise_backward(da_hat, a_hat, r)}
    for name, values in rows.items():
        assert f"    {name:8}" + "".join(f"{value:10.4f}" for value in values[:, 0]) in __doc__
    assert f"μ = {a.mean():.0f}, r = {r[0, 0]:.4f}, mean(dâ) = {da_hat.mean()}" in __doc__
    assert f"mean(dâ ∘ â) = {(da_hat * a_hat).mean():.4f}." in __doc__
    table = {
        line.split()[0]: line.split()[1:]
        for line in __doc__.splitlines()
        if line.count("e-") + line.count("e+") == 2
    }
    assert [float(factor) for factor in table] == [*FACTORS]
    for factor, row in table.items():
        expected = [*measured(float(factor), False), *measured(float(factor), True)]
        np.testing.assert_allclose([float(word) for word in row], expected, rtol=0.3)


def test_the_variances_of_the_terms_add_up():
    K, b, s = 200, 0.08, generator.normal(size=200)
    a = generator.uniform(-b, b, size=(20_000, K)) @ s
    np.testing.assert_allclose(a.var(), K * b**2 / 3 * (s**2).mean(), rtol=0.05)


def test_units_with_the_same_weights_stay_the_same():
    network, generator = untrained(0.0, model="rnn")
    network.parameters["layer1.W"][...] = network.parameters["layer2.W"][...] = 0.01
    network.parameters["layer1.Wx"][...] = network.parameters["readout.W"][...] = 0.01
    network.loss_and_gradient(*generator.integers(V, size=(2, T, B)))
    for name in ("layer1.W", "layer2.W"):
        gradient = network.gradient[name]
        np.testing.assert_allclose(gradient, np.repeat(gradient[:1], H, axis=0), atol=1e-15)


def test_the_first_loss_is_the_uniform_one():
    for model in ("rnn", "lstm", "gru"):
        network, generator = untrained(1.0, model=model)
        loss = network.measure(*generator.integers(V, size=(2, T, B)))
        assert abs(float(loss) - log(V)) < 0.02


def test_the_result_has_mean_0_and_variance_1():
    a_hat, _ = normalise(generator.normal(3.0, 5.0, size=(H, B)))
    np.testing.assert_allclose(a_hat.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(a_hat.var(axis=0), 1, atol=1e-5)  # not exactly, because of ε


def test_the_complex_step_agrees():
    """For the loss Σ dâ ∘ â, the gradient with respect to â is dâ."""
    a, da_hat = generator.normal(size=(2, 5, 3))
    found = normalise_backward(da_hat.copy(), *normalise(a))
    reference = complex_step(lambda theta: (da_hat * normalise(theta.reshape(5, 3))[0]).sum(), a.reshape(-1))
    np.testing.assert_allclose(found.reshape(-1), reference, atol=1e-14)


def test_a_whole_network_with_layer_normalisation_agrees_with_the_complex_step():
    network = toy_network(Config(7, "lstm", 3, num_layers=2, layer_norm=True), T=5, B=2, generator=generator)
    for row in check_network(network, *generator.integers(7, size=(2, 5, 2))):
        assert row.complex_error < 1e-12, row.name


def test_no_gradient_is_left_for_a_shift_or_a_factor():
    """A step along da changes neither the mean nor, to first order, the size of a."""
    a, da_hat = generator.normal(size=(2, H, B))
    a_hat, r = normalise(a)
    da = normalise_backward(da_hat, a_hat, r)
    np.testing.assert_allclose(da.sum(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose((da * a_hat).sum(axis=0), 0, atol=1e-3)  # not exactly, because of ε


def test_twice_the_weights_have_no_effect():
    a = generator.normal(size=(H, B))
    np.testing.assert_allclose(normalise(2 * a)[0], normalise(a)[0], atol=1e-4)
    assert measured(1, False)[1] < 1e-6 * measured(3, False)[1]
    np.testing.assert_allclose(measured(1, True), measured(3, True), rtol=1e-2)


def test_a_constant_bias_cancels_out():
    a = generator.normal(size=(H, B))
    np.testing.assert_allclose(normalise(a + 1.0)[0], normalise(a)[0], atol=1e-13)


WRITE = ("layer_norm.forward", "layer_norm.backward")

EXERCISE = """
In minichar/engine/layer_norm.py, in backward, change

    return ((da_hat - mean(da_hat) - a_hat * mean(da_hat * a_hat)) * r,)

to

    return (da_hat * r,)

This treats μ and r as constants, like a dropout mask. Why is that wrong here, and which tests fail?
"""

ANSWER = """
μ and r depend on a, so they depend on the weights, and the paths through them are part of the
gradient. A dropout mask does not depend on a. These tests fail: test_the_numbers_in_the_text,
test_the_complex_step_agrees,
test_a_whole_network_with_layer_normalisation_agrees_with_the_complex_step and
test_no_gradient_is_left_for_a_shift_or_a_factor. Doubling the weights still has no effect, because
both gradients are proportional to r.
"""
