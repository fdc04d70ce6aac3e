"""Lesson 4. Tanh and sigmoid: two slopes that are made of the value alone.

Between its products a network bends. Two functions do it everywhere in this engine: tanh, from
-1 to 1, for what is remembered; the sigmoid σ, from 0 to 1, for gates that let through a share.

    tanh(a) = (eᵃ - e⁻ᵃ) / (eᵃ + e⁻ᵃ)                σ(a) = 1 / (1 + e⁻ᵃ)

Slope of tanh. Call the numerator s and the denominator c: then s' = c and c' = s, and

    tanh' = (s' c - s c') / c² = (c² - s²) / c² = 1 - tanh²

Slope of σ. It is a tanh in disguise: multiply 1 / (1 + e⁻ᵃ) above and below by e^(a/2), and

    σ(a) = e^(a/2) / (e^(a/2) + e^(-a/2)) = ½ tanh(½a) + ½
    σ'   = ¼ (1 - tanh²(½a))                      by the chain rule, ½ · ½
         = ¼ (1 - (2σ - 1)²)                      since tanh(½a) = 2σ - 1
         = σ (1 - σ)

Both slopes need the *value* only, not a. So the forward pass may throw a away and write the value
over it, which this engine does: a line `da = dy ∘ (1 - y∘y)` is all that is left to do later.

What to remember of the slopes: that of tanh is at most 1, that of σ at most ¼, both at a = 0.
Far out, where the value is near its limit, they are almost 0: the unit is *saturated*, and no
gradient gets through it. Lesson 10 multiplies a hundred such slopes.

The engine computes σ by tanh: e⁻ᵃ overflows for a = -1000, tanh never does, and it is a function
of complex numbers too, which lesson 3 asks for.
"""

from math import exp

import numpy as np

from minichar.engine.functions import sigmoid, sigmoid_slope, tanh_slope
from minichar.engine.gradcheck import complex_step

a = np.linspace(-6.0, 6.0, 25)  # with 0 in the middle


def sigmoid_of(a):
    """The engine's functions write where they are told to; here that is a new array."""
    y = np.empty_like(a)
    sigmoid(np, a, out=y)
    return y


def slope_of(slope, y):
    out = np.empty_like(y)
    slope(np, y, out=out)
    return out


def test_the_sigmoid_is_its_textbook_formula():
    np.testing.assert_allclose(sigmoid_of(a), [1 / (1 + exp(-one)) for one in a], rtol=1e-13)


def test_the_sigmoid_is_half_a_tanh_and_a_half():
    np.testing.assert_allclose(sigmoid_of(a), 0.5 * np.tanh(0.5 * a) + 0.5, rtol=1e-13)


def test_the_slope_of_tanh_is_one_minus_its_square():
    """A sum of tanhs, one for each a: its derivative by each a is that one's slope."""
    reference = complex_step(lambda a: np.tanh(a).sum(), a)
    np.testing.assert_allclose(slope_of(tanh_slope, np.tanh(a)), reference, rtol=0, atol=1e-15)


def test_the_slope_of_the_sigmoid_is_the_value_times_one_minus_the_value():
    reference = complex_step(lambda a: sigmoid_of(a).sum(), a)
    np.testing.assert_allclose(slope_of(sigmoid_slope, sigmoid_of(a)), reference, rtol=0, atol=1e-15)


def test_both_are_steepest_at_zero_where_tanh_has_slope_1_and_the_sigmoid_a_quarter():
    assert a[12] == 0
    for value, slope, largest in ((np.tanh(a), tanh_slope, 1.0), (sigmoid_of(a), sigmoid_slope, 0.25)):
        slopes = slope_of(slope, value)
        assert slopes.argmax() == 12
        assert slopes.max() == largest


def test_a_saturated_unit_lets_hardly_any_gradient_through():
    far_out = np.array([-10.0, 10.0])
    assert (slope_of(tanh_slope, np.tanh(far_out)) < 1e-8).all()
    assert (slope_of(sigmoid_slope, sigmoid_of(far_out)) < 5e-5).all()


def test_no_input_is_too_large_for_the_engine():
    """Any overflow would be a warning; here it is an error."""
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(sigmoid_of(np.array([-1000.0, 0.0, 1000.0])), [0.0, 0.5, 1.0])


EXERCISE = """
In minichar/engine/functions.py, in sigmoid_slope, change

    xp.multiply(out, s, out=out)

to

    xp.multiply(out, out, out=out)

so that it says (1 - s)² instead of s (1 - s). At a = 0, where s = ½, the two agree. Where do they
differ most? Which tests look there?
"""

ANSWER = """
They differ most at the far left: there s is 0, and (1 - s)² is 1 where the slope is 0. A gate that
is shut would be told that it is at its steepest. So besides
test_the_slope_of_the_sigmoid_is_the_value_times_one_minus_the_value, red are
test_a_saturated_unit_lets_hardly_any_gradient_through and
test_both_are_steepest_at_zero_where_tanh_has_slope_1_and_the_sigmoid_a_quarter.
"""
