"""Lesson 3. Tanh and sigmoid: two derivatives that depend only on the function's value.

A network needs a nonlinearity between its matrix products. The cells in this engine use two: tanh,
with values between -1 and 1, for content, and the sigmoid σ, with values between 0 and 1, for
gates.

[figure: tanh_and_sigmoid]

    tanh(a) = (eᵃ - e⁻ᵃ) / (eᵃ + e⁻ᵃ)                σ(a) = 1 / (1 + e⁻ᵃ)

To differentiate tanh, let p be the numerator and q the denominator. Then p' = q and q' = p, so

    tanh' = (p' q - p q') / q² = (q² - p²) / q² = 1 - tanh²

To differentiate σ, multiply the numerator and the denominator of 1 / (1 + e⁻ᵃ) by e^(a/2). The
result is a scaled and shifted tanh:

    σ(a) = e^(a/2) / (e^(a/2) + e^(-a/2)) = ½ tanh(½a) + ½
    σ'   = ¼ (1 - tanh²(½a))                      by the chain rule, ½ · ½
         = ¼ (1 - (2σ - 1)²)                      since tanh(½a) = 2σ - 1
         = σ (1 - σ)

Both derivatives depend only on the *value* of the function. The forward pass therefore stores the
value instead of a, and the backward pass needs one line per function:

    y = tanh(a)          da = dy ∘ (1 - y ∘ y)
    s = σ(a)             da = ds ∘ s ∘ (1 - s)

∘ denotes element-wise multiplication. The derivative of tanh is at most 1 and that of σ at most ¼;
both peak at a = 0. Where the value is near a limit, the derivative is almost 0: the unit is
*saturated*, and hardly any gradient passes through it. Lesson 10 shows what happens when a hundred
such derivatives are multiplied.

[figure: nonlinearities.svg]

The engine computes σ as 1 / (1 + e⁻ᵃ), because on many processors NumPy's exp takes half as long as
its tanh. At a = -1000, e⁻ᵃ overflows to infinity, and 1 / (1 + ∞) gives the correct limit, 0, so
there is no need for a second formula for negative a.
"""

from math import exp

import numpy as np

from minichar.engine import functions
from minichar.engine.gradcheck import complex_step

a = np.linspace(-6.0, 6.0, 25)  # with 0 in the middle


def sigmoid(a):
    return functions.sigmoid(np, a)


def slope_of_tanh(y):
    """Return the derivative of tanh where its value is y."""
    return 1 - y * y


def slope_of_sigmoid(s):
    """Return the derivative of σ where its value is s."""
    return s * (1 - s)


def test_the_sigmoid_matches_the_textbook_formula():
    np.testing.assert_allclose(sigmoid(a), [1 / (1 + exp(-one)) for one in a], rtol=1e-13)


def test_the_slope_of_tanh_is_one_minus_its_square():
    """The derivative of Σ tanh(a) with respect to each a is the derivative of tanh at that a."""
    reference = complex_step(lambda a: np.tanh(a).sum(), a)
    np.testing.assert_allclose(slope_of_tanh(np.tanh(a)), reference, rtol=0, atol=1e-15)


def test_the_slope_of_the_sigmoid_is_the_value_times_one_minus_the_value():
    reference = complex_step(lambda a: sigmoid(a).sum(), a)
    np.testing.assert_allclose(slope_of_sigmoid(sigmoid(a)), reference, rtol=0, atol=1e-15)


def test_both_are_steepest_at_zero_where_tanh_has_slope_1_and_the_sigmoid_a_quarter():
    assert a[12] == 0
    for slopes, largest in ((slope_of_tanh(np.tanh(a)), 1.0), (slope_of_sigmoid(sigmoid(a)), 0.25)):
        assert slopes.argmax() == 12
        assert slopes.max() == largest


def test_a_saturated_unit_passes_hardly_any_gradient():
    saturated = np.array([-10.0, 10.0])
    assert (slope_of_tanh(np.tanh(saturated)) < 1e-8).all()
    assert (slope_of_sigmoid(sigmoid(saturated)) < 5e-5).all()


def test_no_input_is_too_large_for_the_engine():
    """NumPy warns about the overflow. The engine turns the warning off, as `np.errstate` does here."""
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(sigmoid(np.array([-1000.0, 0.0, 1000.0])), [0.0, 0.5, 1.0])


WRITE = ("slope_of_tanh", "slope_of_sigmoid")

EXERCISE = """
In minichar/engine/functions.py, in sigmoid, change

    return 1.0 / (1.0 + xp.exp(-a))

to

    return 1.0 / (1.0 + xp.exp(-2.0 * a))

The function is still a smooth step between 0 and 1, and still ½ at a = 0. What is different? Is
s (1 - s) still its derivative?
"""

ANSWER = """
The function is now σ(2a), whose derivative is twice as large: 2 s (1 - s). When you change a
function, you must change its backward line as well. test_the_sigmoid_matches_the_textbook_formula
and test_the_slope_of_the_sigmoid_is_the_value_times_one_minus_the_value fail. The tests for
saturation and for the steepest point still pass, because they only check s (1 - s).
"""
