"""Lesson 14. Scheduled sampling: reading one's own mistakes, and what the gradient does not see.

In training, the network reads true characters: *teacher forcing*. In writing, it reads its own. It
has never seen its own mistakes, and one leads to the next. *Scheduled sampling* (Bengio, Vinyals,
Jaitly & Shazeer 2015) lets it practise: for each character, a coin that says "true" with
probability `share`, and otherwise the network reads what it predicted the step before,

    k ~ p = softmax(logits of step t-1)          then        x_t = onehot(k)

What is the gradient of that? The draw is a staircase: nudge a weight, and k stays what it was, or
jumps. The slope of a staircase is 0 wherever there is one, so k is treated as a constant, just as
dropout's mask was: dlogits of step t-1 gets nothing through the choice. Two things follow.

First, the backward pass must see the characters that were *fed*, and not the true ones: column k of
dWx belongs to the character that was read.

Second, the gradient is biased. What we would like to lower is the expected loss over the draws.
With one draw it is a plain sum over the V outcomes,

    E[L] = Σ_k p_k L_k                           L_k: the loss if k was fed

and its derivative by a weight θ has, by the rule for products, two parts:

    dE/dθ = Σ_k p_k dL_k/dθ   +   Σ_k dp_k/dθ L_k
            what we compute       what we do not see

The first part: given what you read, do better. The second: read something else, make those
characters likelier after which you do well. Scheduled sampling leaves it out. The last test
computes all three and finds them to add up. (The missing part could be estimated from draws, with a
lot of noise. That is not done here: the method helps with the bias as it is.)
"""

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.config import Config
from minichar.engine.draw import draw
from minichar.engine.gradcheck import check_network, complex_step, toy_network
from minichar.engine.network import Network, teacher_forcing
from minichar.training.scheduled_sampling import ScheduledSampling

V, T, B = 6, 5, 3


@pytest.fixture
def generator():
    return np.random.default_rng(14)


@pytest.fixture
def network(generator):
    return toy_network(Config(V, "lstm", 4, num_layers=1), T, B, generator)


def feed(inputs, share, how, generator):
    """The engine's: what is not true is the model's own, drawn ("sample") or its likeliest ("argmax")."""
    mixed = ScheduledSampling(inputs, how, CPU)
    mixed.draw_mask(share, generator)
    return mixed


def test_a_share_of_1_is_teacher_forcing(network, generator):
    inputs = generator.integers(V, size=(T, B))
    network.forward(feed(inputs, 1.0, "sample", generator))
    np.testing.assert_array_equal(network.fed, inputs)


def test_a_share_of_0_reads_its_own_predictions_but_for_the_first_character(network, generator):
    inputs = generator.integers(V, size=(T, B))
    logits = network.forward(feed(inputs, 0.0, "argmax", generator))
    np.testing.assert_array_equal(network.fed[0], inputs[0])
    np.testing.assert_array_equal(network.fed[1:], logits[:-1].argmax(axis=1))


def test_a_character_is_drawn_as_often_as_its_probability_says(generator):
    logits = generator.normal(size=(V, 1))
    ids = draw(np, np.repeat(logits, 20000, axis=1), generator.random(20000))
    p = np.exp(logits[:, 0]) / np.exp(logits).sum()
    np.testing.assert_allclose(np.bincount(ids, minlength=V) / 20000, p, atol=0.02)


def test_the_draw_is_a_staircase_flat_nearly_everywhere(generator):
    """A push on the logits changes nothing, or the character itself: nothing in between to differentiate."""
    logits, u = generator.normal(size=(V, 1)), np.array([0.5])
    pushes = np.linspace(0.0, 6.0, 601)
    drawn = [int(draw(np, logits + push * np.eye(V)[:, :1], u)[0]) for push in pushes]
    jumps = np.flatnonzero(np.diff(drawn))
    assert 1 <= len(jumps) <= V
    assert drawn[-1] == 0


def test_with_what_was_fed_held_still_the_complex_step_agrees(network, generator):
    inputs, targets = generator.integers(V, size=(2, T, B))  # each (T, B)
    rows = check_network(network, feed(inputs, 0.3, "sample", generator), targets)
    assert (network.fed != inputs).any()
    for row in rows:
        assert row.complex_error < 1e-13, row.name


def test_the_gradient_belongs_to_the_characters_that_were_fed_and_not_to_the_true_ones(network, generator):
    inputs, targets = np.zeros((T, B), dtype=int), generator.integers(V, size=(T, B))
    network.learn(feed(inputs, 0.0, "sample", generator), targets)
    was_fed = np.isin(np.arange(V), network.fed)
    assert was_fed.sum() > 1  # more than the true character 0
    np.testing.assert_array_equal(network.gradient["layer1.Wx"].any(axis=0), was_fed)


def test_what_it_computes_and_what_it_does_not_see_add_up_to_the_gradient_of_the_expected_loss(generator):
    """Two steps of one sequence; the second character is drawn, so there are V outcomes to sum over."""
    network = toy_network(Config(V, "lstm", 4, num_layers=1), 2, 1, generator)
    targets, theta = np.array([[1], [4]]), network.parameters.flat
    parameters = network.parameters.twin("complex128")
    twin = Network(network.config, parameters, 2, 1)
    twin.state = network.state

    def outcomes(theta):
        """p_k and L_k for every k, as functions of θ."""
        parameters.flat[...] = theta
        p, L = np.zeros(V, "complex128"), np.zeros(V, "complex128")
        for k in range(V):
            feed = teacher_forcing(np.array([[2], [k]]))
            L[k] = twin.measure(feed, targets)
            logits = twin.logits()
            p[k] = np.exp(logits[0, k, 0]) / np.exp(logits[0, :, 0]).sum()
        return p, L

    p, L = outcomes(theta)
    whole = complex_step(lambda theta: np.prod(outcomes(theta), axis=0).sum(), theta)
    not_seen = complex_step(lambda theta: (outcomes(theta)[0] * L).sum(), theta)
    seen = np.zeros(theta.size)
    for k in range(V):
        network.learn(teacher_forcing(np.array([[2], [k]])), targets)
        seen += p[k].real * network.gradient.flat
    np.testing.assert_allclose(seen + not_seen, whole, rtol=0, atol=1e-14)
    assert abs(not_seen).max() > 0.01 * abs(whole).max()


EXERCISE = """
In minichar/training/scheduled_sampling.py, in __call__, change

    return self.xp.where(self.mask[t], self.inputs[t], predicted)

to

    return self.xp.where(self.mask[t], predicted, self.inputs[t])

so that the coin decides the wrong way round. Do the gradient checks notice?
"""

ANSWER = """
They do not, and should not: the gradient is right for whatever was fed. Red are the tests that ask
what was fed: test_a_share_of_1_is_teacher_forcing,
test_a_share_of_0_reads_its_own_predictions_but_for_the_first_character, and the first line of
test_the_gradient_belongs_to_the_characters_that_were_fed_and_not_to_the_true_ones.
"""
