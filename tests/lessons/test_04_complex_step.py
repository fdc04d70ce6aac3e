"""Lesson 4. The complex step: a derivative accurate to fifteen digits, because nothing cancels.

Lesson 2 got eleven digits at best, because digits cancel in f(w + h) - f(w - h). Can a measurement
do better? To avoid the subtraction, take the step along the imaginary axis. Functions such as tanh
are also defined for complex numbers. For a small h, the Taylor series holds there, too. As i² = -1,

    f(w + ih) = f(w) + ih f'(w) - h²/2 f''(w) - ih³/6 f'''(w) + …

[figure: complex_step]

Take the imaginary part and divide by h:

    Im f(w + ih) / h = f'(w) - h²/6 f'''(w) + …

f(w) is in the real part, so it drops out without a subtraction. For f(w) = w³, w = 2 and
h = 0.5, the error is h²:

    (2 + 0.5i)³ = 6.5 + 5.875i
    5.875 / 0.5 = 11.75 = 12 - 0.25

The truncation error is as large as before, but now h can be tiny: at h = 1e-8, the relative error
is below 1e-15, and it stays there down to h = 1e-300. A complex number stores its two parts
separately, so 1e-30 i keeps all its digits beside 0.4. The left branch of the V-shape disappears:

[figure: tiny_steps.svg]

There is one restriction: f must work on complex numbers and use only operations that have a complex
derivative, such as + − × /, exp, log, tanh and powers. `abs` returns a real number, so the
imaginary part is lost.

minichar uses the complex step to verify all its gradients to 1e-12 or better: in `minichar
gradcheck`, in its tests, and in most of the lessons that follow.

See Squire & Trapp 1998, "Using complex variables to estimate derivatives of real functions".
"""

from cmath import tanh

import numpy as np
import pytest

from minichar.engine import gradcheck
from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, toy_network

w, x, target = 0.4, 1.2, 0.6


def f(w):
    """Return the loss from lessons 1 and 2. `cmath.tanh` accepts both real and complex numbers."""
    return (tanh(w * x) - target) ** 2


def slope(w):
    y = tanh(w * x).real
    return 2 * (y - target) * (1 - y * y) * x


def complex_step(f, w, h=1e-30):
    """Return the derivative of f at w, with a step of h along the imaginary axis."""
    return f(w + 1j * h).imag / h


def error(h):
    return abs(complex_step(f, w, h) - slope(w)) / abs(slope(w))


def test_the_imaginary_part_is_the_step_times_the_derivative():
    assert complex_step(f, w) == pytest.approx(slope(w), rel=1e-14)


def test_the_real_part_is_still_the_loss():
    assert f(w + 1e-30j).real == f(w).real


def test_a_large_step_has_the_truncation_error_of_lesson_2():
    for h in (1e-1, 1e-2, 1e-3):
        assert error(h) / error(h / 10) == pytest.approx(100, rel=0.05)


def test_a_tiny_step_loses_no_digits():
    for h in (1e-8, 1e-9, 1e-15, 1e-30, 1e-100, 1e-300):
        assert error(h) < 1e-15


def test_the_complex_step_of_a_cube_worked_by_hand():
    """(w + ih)³ = w³ + 3iw²h - 3wh² - ih³, so Im / h = 3w² - h²."""
    assert complex_step(lambda w: w**3, 2.0, h=0.5) == 3 * 2.0**2 - 0.5**2
    assert complex_step(lambda w: w**3, 2.0) == 3 * 2.0**2
    real, imaginary = (cube := (2 + 0.5j) ** 3).real, cube.imag
    assert f"(2 + 0.5i)³ = {real} + {imaginary}i\n" in __doc__
    assert f"{imaginary} / 0.5 = {imaginary / 0.5} = {3 * 2**2} - {0.5**2}\n" in __doc__


def test_abs_breaks_the_complex_step_but_the_square_root_of_a_square_does_not():
    """Both functions compute |w|, whose derivative at -2 is -1, but abs() of a complex number is real."""
    assert complex_step(abs, -2.0) == 0.0
    assert complex_step(lambda w: (w * w) ** 0.5, -2.0) == pytest.approx(-1.0)


def test_the_engine_differentiates_with_respect_to_each_weight_in_turn():
    found = gradcheck.complex_step(lambda theta: f(theta[0]) * theta[1] ** 3, np.array([w, 2.0]))
    assert found == pytest.approx([slope(w) * 8, f(w).real * 12], rel=1e-14)


def test_on_a_whole_network_the_complex_step_is_ten_thousand_times_more_accurate_than_a_central_difference():
    generator = np.random.default_rng(3)
    config = Config(vocab_size=7, model="rnn", rnn_size=5)
    network = toy_network(config, T=6, B=2, generator=generator)
    inputs, targets = generator.integers(7, size=(2, 6, 2))  # each (T, B)
    for row in check_network(network, inputs, targets):
        assert row.complex_error < 1e-14
        assert row.central_error > 1e4 * row.complex_error


WRITE = ("complex_step",)

EXERCISE = """
In tests/lessons/test_04_complex_step.py, in f, change

    return (tanh(w * x) - target) ** 2

to

    return abs(tanh(w * x) - target) ** 2

For real w, f has the same value, so a central difference would give the same result. Which tests
fail here, and how large is the relative error of `complex_step` now?
"""

ANSWER = """
`abs` of a complex number is real, so the imaginary part is lost and the computed derivative is 0.
The relative error is 1, or 100%. These tests fail:
test_the_imaginary_part_is_the_step_times_the_derivative,
test_a_large_step_has_the_truncation_error_of_lesson_2, test_a_tiny_step_loses_no_digits and
test_the_engine_differentiates_with_respect_to_each_weight_in_turn. A mistake this large is easy to
find.
"""
