"""Lesson 17. Sampling and temperature: turning probabilities into text, boldly or carefully.

The network is trained, and it assigns a probability to each of the V characters that could come
next (lesson 5). A text needs one of them. Which?

[figure: softmax_cross_entropy]

The most likely one? Then the same state always leads to the same character, and sooner or later the
text goes round in circles: "the state of the state of the state of". People do not always use the
most likely word, so text that does is unlikely.

So draw from the probabilities. To draw a character, take a random number u, uniform between 0 and
1, and go through the characters until their probabilities add up to more than u:

    id = the first k with p_1 + … + p_k > u

The probability that u falls into the interval of character k is the interval's length, p_k.

Sometimes that is too bold, or not bold enough. The *temperature* τ > 0 divides the logits before
the softmax:

    p_k(τ) = exp(logits_k / τ) / Σ_j exp(logits_j / τ)

Since exp(logits_k / τ) is exp(logits_k) to the power of 1/τ, this raises every probability to that
power and normalises again: with τ = 0.5, odds of 3 to 1 become 9 to 1. Here are three characters
with logits 2, 1 and 0:

    τ         p_1      p_2      p_3   entropy
    0.1    1.0000   0.0000   0.0000     0.000
    0.5    0.8668   0.1173   0.0159     0.441
    1.0    0.6652   0.2447   0.0900     0.832
    2.0    0.5065   0.3072   0.1863     1.020
    9.0    0.3710   0.3320   0.2971     1.095

[figure: temperature.svg]

With u = 0.7, you draw the first character at τ = 0.5 and the second at τ = 1. Near 0, only the most
likely character remains; at high temperatures, all probabilities are almost equal. The last column,
the *entropy*, is the expected loss on text that the model generates:

    S = -Σ_k p_k log p_k

It can only rise with the temperature, and how fast depends on how much the logits differ:

    dS/dτ = (mean(logits²) - mean(logits)²) / τ³          where means are weighted with p

One danger is the *tail*. Suppose that 90 characters have probability 0.001 each. Each is
negligible, but their sum is 0.09, and a line of 60 characters avoids all of them with
a probability of only 0.91⁶⁰ = 0.003. One absurd character is enough to derail the network, because
it reads its own output (lesson 15). Two filters cut off the tail before the draw:

    top-k     keep the k most likely characters
    top-p     keep the smallest set of the most likely characters whose probabilities reach p

Top-k keeps the same number whether one character is certain or fifty are possible. Top-p adapts.

Here is text from an LSTM trained for a few seconds, sampled at four temperatures with the same
random numbers:

[output: it_writes]
"""

from math import exp, log

import numpy as np

import minichar
from minichar.engine import draw
from minichar.sampling.choice import Choice

logits = np.array([[2.0], [1.0], [0.0]])  # (V, 1)


def softmax(scores):
    weights = [exp(score) for score in scores]
    return np.array(weights) / sum(weights)


def at_temperature(tau):
    """Return the probabilities at the temperature tau, for the column of logits."""
    return softmax(logits[:, 0] / tau)


def entropy(p):
    """Return the entropy of the probabilities p in nats."""
    return -sum(p_k * log(p_k) for p_k in p)


def engine(logits, **options):
    """Return the probabilities from which the engine draws."""
    weights = Choice(**options).weights(logits)[:, 0]
    return weights / weights.sum()


def it_writes():
    model = minichar.train(model="lstm", rnn_size=64, num_layers=1, max_epochs=2, seed=1, progress=False)
    texts = []
    for tau in (0.2, 0.5, 1.0, 1.5):
        written = model.generate("The ", length=190, temperature=tau, seed=1)
        texts.append(f"τ = {tau}: The {' '.join(written.split())}")
    return "\n\n".join(texts)


def test_the_numbers_in_the_text():
    for tau in (0.1, 0.5, 1.0, 2.0, 9.0):
        p = at_temperature(tau)
        numbers = "   ".join(f"{p_k:.4f}" for p_k in p)
        assert f"    {tau}    {numbers}   {entropy(p):7.3f}\n" in __doc__
    assert f"a probability of only 0.91⁶⁰ = {0.91**60:.3f}." in __doc__


def test_the_engine_divides_the_logits_by_the_temperature():
    for tau in (0.1, 0.5, 1.0, 2.0, 9.0):
        np.testing.assert_allclose(engine(logits, temperature=tau), at_temperature(tau), rtol=1e-12)


def test_the_temperature_raises_each_probability_to_the_power_of_one_over_tau():
    for tau in (0.5, 2.0):
        powers = at_temperature(1.0) ** (1 / tau)
        np.testing.assert_allclose(powers / powers.sum(), at_temperature(tau), rtol=1e-12)


def test_the_entropy_rises_with_the_temperature_by_the_variance_of_the_logits():
    for tau in (0.5, 1.0, 3.0):
        p, scores = at_temperature(tau), logits[:, 0]
        variance = (p * scores**2).sum() - (p * scores).sum() ** 2
        slope = (entropy(at_temperature(tau + 1e-6)) - entropy(at_temperature(tau - 1e-6))) / 2e-6
        assert abs(slope - variance / tau**3) < 1e-8
        assert slope > 0


def test_the_interval_that_contains_u_decides():
    u = np.array([0.7])
    assert Choice(temperature=0.5).ids(logits, u) == 0
    assert Choice(temperature=1.0).ids(logits, u) == 1


def test_each_character_is_drawn_with_its_probability():
    u = (np.arange(10_000) + 0.5) / 10_000
    ids = draw.draw(np, np.repeat(logits, len(u), axis=1), u)
    np.testing.assert_allclose(np.bincount(ids) / len(u), at_temperature(1.0), atol=1e-4)


def test_always_choosing_the_most_likely_character_goes_round_in_circles():
    """With V characters and no memory beyond the last one, the text repeats after at most V characters."""
    V = 20
    table = np.random.default_rng(17).normal(size=(V, V))  # column k: the logits after character k
    text = [0]
    for _ in range(3 * V):
        text.append(int(Choice(argmax=True).ids(table[:, text[-1:]], np.array([0.5]))[0]))
    period = next(n for n in range(1, V + 1) if text[V:-n] == text[V + n :])
    assert period <= V


def test_a_tiny_temperature_is_greedy_and_does_not_overflow():
    np.testing.assert_array_equal(engine(logits, temperature=1e-4), [1.0, 0.0, 0.0])


def test_top_k_keeps_k_characters_and_top_p_as_many_as_are_needed():
    sure, unsure = np.array([[9.0], [1.0], [0.5], [0.0]]), np.zeros((4, 1))
    for scores in (sure, unsure + np.array([[0.3], [0.2], [0.1], [0.0]])):
        assert (engine(scores, top_k=2) > 0).sum() == 2
    assert (engine(sure, top_p=0.9) > 0).sum() == 1
    assert (engine(unsure, top_p=0.9) > 0).sum() == 4
    kept = engine(logits, top_p=0.9)
    np.testing.assert_allclose(kept[:2], at_temperature(1.0)[:2] / at_temperature(1.0)[:2].sum())


WRITE = ("at_temperature", "entropy")

EXERCISE = """
In minichar/sampling/choice.py, in weights, change

    scaled = (logits - logits.max(axis=0)) / temperature  # (V, B)

to

    scaled = logits / temperature - logits.max(axis=0)  # (V, B)

Does that change the probabilities? Which test fails?
"""

ANSWER = """
In exact arithmetic, it changes nothing: in both cases, the same constant is subtracted from all scaled
logits (lesson 5). In floating point, the largest scaled logit is no longer 0, and at a low temperature
its exponential overflows. test_a_tiny_temperature_is_greedy_and_does_not_overflow fails, and the others
pass. Low temperatures are popular, and a test at τ = 1 would have missed this.
"""
