"""Lesson 3. The complex step: a derivative to the last digit, since nothing is subtracted.

The V of lesson 2 has its left arm because f(w + h) - f(w - h) cancels. So do not subtract. Push
w in a direction in which f does not lie at all: along the imaginary axis. Taylor's series again,
with i² = -1:

    f(w + ih) = f + ih f' - h²/2 f'' - ih³/6 f''' + …

Take the imaginary part and divide by h:

    Im f(w + ih) / h = f' - h²/6 f''' + …

f itself has gone, and no subtraction took it away: it is in the real part, out of reach. The
truncation is still there, but now h may be as small as we like. With h = 1e-30, h² is 1e-60 and
what is left is f' to all of its 16 digits. The V has lost an arm.

    h        1e-12     1e-10     1e-8      1e-6      1e-4      1e-2
    1e-01                                                            *
    1e-02                                                 *
    1e-03                                       *
    1e-04                             *
    1e-05                   *
    1e-06         *
    1e-07  *
    1e-08  *                 and so on, down to 1e-300

The price: f must be computed with complex numbers, and by steps that have a derivative as complex
functions: + - × /, exp, log, tanh, powers. It must not use abs(), which forgets where the number
points to, nor ask which of two complex numbers is larger. Our forward pass keeps to that. Softmax
has to take off the largest logit, and picks it by `.real`; lesson 5 says why that is harmless.

This is how minichar proves each of its gradients: to about 1e-15, by `minichar gradcheck`, in its
tests, and in all the lessons from here on.

Squire & Trapp 1998, "Using complex variables to estimate derivatives of real functions".
"""

from cmath import tanh

import numpy as np
import pytest

from minichar.engine.config import Config
from minichar.engine.gradcheck import check_network, complex_step, toy_network
from minichar.engine.network import teacher_forcing

w, x, target = 0.4, 1.2, 0.6


def f(w):
    """The loss of lessons 1 and 2; the same line, but this tanh takes complex numbers too."""
    return (tanh(w * x) - target) ** 2


def slope(w):
    y = tanh(w * x).real
    return 2 * (y - target) * (1 - y * y) * x


def by_complex_step(f, w, h=1e-30):
    return f(w + 1j * h).imag / h


def error(h):
    return abs(by_complex_step(f, w, h) - slope(w)) / abs(slope(w))


def test_the_imaginary_part_is_the_push_times_the_derivative():
    assert by_complex_step(f, w) == pytest.approx(slope(w), rel=1e-14)


def test_the_real_part_is_still_the_loss_itself():
    assert f(w + 1e-30j).real == f(w).real


def test_a_large_push_truncates_as_in_lesson_2():
    for h in (1e-1, 1e-2, 1e-3):
        assert error(h) / error(h / 10) == pytest.approx(100, rel=0.05)


def test_a_tiny_push_costs_no_digit():
    for h in (1e-8, 1e-15, 1e-30, 1e-100, 1e-300):
        assert error(h) < 1e-14


def test_a_cube_has_the_slope_three_w_squared_and_can_be_done_by_hand():
    """(w + ih)³ = w³ + 3iw²h - 3wh² - ih³, so Im / h = 3w² - h²."""
    assert by_complex_step(lambda w: w**3, 2.0, h=0.5) == 3 * 2.0**2 - 0.5**2
    assert by_complex_step(lambda w: w**3, 2.0) == 3 * 2.0**2


def test_abs_breaks_it_and_a_square_root_of_the_square_does_not():
    """Both are |w|, with slope -1 at -2. abs() of a complex number is its length, which is real."""
    assert by_complex_step(abs, -2.0) == 0.0
    assert by_complex_step(lambda w: (w * w) ** 0.5, -2.0) == pytest.approx(-1.0)


def test_the_engine_steps_along_each_weight_in_turn():
    found = complex_step(lambda theta: f(theta[0]) * theta[1] ** 3, np.array([w, 2.0]))
    assert found == pytest.approx([slope(w) * 8, f(w).real * 12], rel=1e-14)


def test_on_a_whole_network_it_sees_ten_thousand_times_sharper_than_a_push():
    generator = np.random.default_rng(3)
    network = toy_network(Config(vocab_size=7, model="rnn", rnn_size=5), 6, 2, generator)
    inputs, targets = generator.integers(7, size=(2, 6, 2))  # each (T, B)
    for row in check_network(network, teacher_forcing(inputs), targets):
        assert row.complex_error < 1e-14
        assert row.central_error > 1e4 * row.complex_error


EXERCISE = """
In tests/lessons/test_03_complex_step.py, in f, change

    return (tanh(w * x) - target) ** 2

to

    return abs(tanh(w * x) - target) ** 2

For every real w that is the same number, and a central difference would not mind. What goes red
here, and which error does it report?
"""

ANSWER = """
abs() of a complex number is real, so the imaginary part is gone: the derivative comes out as 0, an
error of 1, or 100 %, in all of test_the_imaginary_part_is_the_push_times_the_derivative,
test_a_large_push_truncates_as_in_lesson_2, test_a_tiny_push_costs_no_digit and
test_the_engine_steps_along_each_weight_in_turn. It fails loudly, and not by a little.
"""
