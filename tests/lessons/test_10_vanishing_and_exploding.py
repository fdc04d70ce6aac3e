"""Lesson 10. Vanishing and exploding: a product of a hundred derivatives, and what clipping does.

An opening bracket says that a closing one will follow, perhaps 100 characters later. To learn this,
the network has to find out that the weights at the opening bracket affected the loss at the closing
one. How much of the gradient is left after 100 steps?

[figure: vanishing_and_exploding]

It has one factor for every step in between (lesson 8). In an RNN (lesson 7),

    da_t     = dh_t ∘ (1 - h_t ∘ h_t)
    dh_{t-1} = W_hᵀ @ da_t
    dx_t     = W_xᵀ @ da_t

A product of 100 similar factors is extreme unless they are very close to 1:

    0.9¹⁰⁰      0.00003
    0.99¹⁰⁰     0.37
    1.01¹⁰⁰     2.7
    1.1¹⁰⁰      14,000

[figure: factors.svg]

Remember 0.99¹⁰⁰ = 0.37: it is the idea behind the next lesson. In an RNN, however, the size of the
factors depends on W_h. If its elements are random with a standard deviation of scale/√H, W_hᵀ
multiplies the norm of a vector by about the scale. The table was measured on an RNN with H = 64
units and a loss at the last step only. Each value is the norm of dx that many steps back, relative
to its norm at the last step. At this size, minichar's initial weights have a scale of 0.37:

    scale              1         10         50        100
    0.37         3.5e-01    1.5e-05    3.1e-24    1.0e-47
    1            8.3e-01    1.0e-01    6.2e-05    2.1e-09
    1.5          1.1e+00    1.4e+00    6.0e+00    7.4e+00
    3            1.3e+00    1.6e+01    3.8e+05    3.1e+12

In the first row, the gradient *vanishes*. After 20 steps, it is less than 6e-8 times the gradient
at the last step, so small that adding it to that gradient changes nothing in float32. The network
reads the opening bracket, but does not learn from it. In the last row, the gradient *explodes*, and
an update of that size would destroy the weights. The third row looks about right, but only for
these weights and this text: the factors contain the derivative of tanh, so they change at every
step and throughout training.

Explosions have a simple remedy: *clip* the gradients before the update, by norm (Pascanu, Mikolov &
Bengio 2013) or by element (Mikolov 2012):

    by norm      g ← g · min(1, limit / ‖g‖)        shorter, but in the same direction
    by element   g ← min(max(g, -limit), limit)     the direction may change

Clipping turns a huge update into a small one. It does not help with vanishing gradients, because it
never makes a gradient larger. They require a different cell.
"""

from functools import cache

import numpy as np
import pytest

from minichar.devices.cpu import CPU
from minichar.engine.layer import Layer
from minichar.engine.rnn import RNN
from minichar.training import optimiser

H, T, B = 64, 101, 4


@cache
def lengths(scale):
    """Return the norm of dx by steps before the loss, relative to 0 steps, with W_h of the given scale."""
    generator = np.random.default_rng(10)
    W = generator.uniform(-0.08, 0.08, size=(H, 2 * H + 1))
    W[:, :H] = generator.normal(size=(H, H)) * scale / np.sqrt(H)
    layer = Layer(RNN, {"W": W}, {"W": np.zeros_like(W)}, H, T, B, CPU)
    layer.linears[0].x[:] = generator.normal(size=(T, H, B))
    for t in range(T):
        layer.step(t)
    dh_above = np.zeros((T, H, B))
    dh_above[-1] = generator.normal(size=(H, B))
    layer.backward(slice(0, T), dh_above)
    layer.gradients(slice(0, T), T, ids=None)
    backwards = np.linalg.norm(layer.linears[0].dx, axis=(1, 2))[::-1]
    return backwards / backwards[0]


def test_the_numbers_in_the_text():
    for factor, power in ((0.9, "0.00003"), (0.99, "0.37"), (1.01, "2.7"), (1.1, "14,000")):
        assert f"{factor}¹⁰⁰" in __doc__
        assert float(power.replace(",", "")) == pytest.approx(factor**100, rel=0.15)
    assert f"have a scale of {0.08 / np.sqrt(3) * np.sqrt(H):.2f}:" in __doc__
    for scale in (0.37, 1, 1.5, 3):
        (row,) = [line for line in __doc__.splitlines() if line.startswith(f"    {scale}  ")]
        found = [lengths(scale)[n] for n in (1, 10, 50, 100)]
        assert [float(word) for word in row.split()[1:]] == pytest.approx(found, rel=0.3)


def test_with_small_weights_the_gradient_shrinks_by_about_the_same_factor_at_every_step():
    logs = np.log10(lengths(0.37))
    assert logs[100] - logs[50] == pytest.approx(logs[50] - logs[0], rel=0.1)


def test_after_20_steps_adding_it_changes_nothing_in_float32():
    assert lengths(0.37)[20] < np.finfo("float32").eps / 2
    assert np.float32(1) + np.float32(lengths(0.37)[20]) == np.float32(1)


def test_with_large_weights_the_gradient_explodes():
    assert lengths(3)[100] > 1e8


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


WRITE = ("optimiser.clip_norm", "optimiser.clip_elements")

EXERCISE = """
In minichar/training/optimiser.py, in clip_norm, change

    g *= xp.minimum(1.0, limit / xp.maximum(norm, limit))

to

    g *= limit / norm

Now short gradients are made longer, up to the limit. Which test fails? Does the network learn from the
opening bracket now?
"""

ANSWER = """
test_clipping_does_not_change_a_short_gradient_and_so_does_not_prevent_vanishing fails for clip_norm.
The network still does not learn from the bracket. All elements of the gradient are multiplied by the
same factor, so the part from 100 steps ago is still just as small relative to the part from the
last step.
"""
