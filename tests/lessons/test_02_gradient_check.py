"""Lesson 2. A gradient check: measure the derivative, and see why the error curve is V-shaped.

You have worked out a derivative by hand. Is it correct? Increase and decrease w a little, and
measure how much the loss changes:

    central difference      f'(w)  ≈  (f(w + h) - f(w - h)) / 2h

[figure: gradient_check]

How accurate is that? By Taylor's theorem, with all derivatives evaluated at w,

    f(w + h) = f + h f' + h²/2 f'' + h³/6 f''' + …
    f(w - h) = f - h f' + h²/2 f'' - h³/6 f''' + …

Subtracting the second line from the first cancels f and f''. Dividing by 2h leaves f' + h²/6 f'''
plus smaller terms, so the method's error is h²/6 f'''. This is the *truncation error*. Making h ten
times smaller makes it a hundred times smaller. (In a one-sided difference, (f(w + h) - f(w)) / h,
f'' does not cancel, and the error is h/2 f''.)

But floating-point numbers have only about 16 digits, so f(w + h) and f(w - h) are accurate only to
about ε|f|, with ε = 2.2e-16. As h shrinks, the two values agree in more and more digits, and the
subtraction cancels those digits. The resulting *round-off error* is about ε|f| / h, so it grows as
h shrinks.

    error  ≈  h²/6 |f'''|  +  ε|f| / h

The sum is smallest at h = ∛(3ε |f| / |f'''|). If f and f''' are of similar size, that is about
1e-5. For the loss from lesson 1, |f'''| is 237 times |f|, and the best h is 1.4e-6.

Here is the relative error, measured on that loss. On logarithmic axes, the curve is V-shaped (the
plot below is rotated): one branch has slope 2, and the other is noisy and has slope -1.

    h      1e-12   1e-8    1e-4
             |       |       |
    1e-01                         *
    1e-02                     *
    1e-03                 *
    1e-04             *
    1e-05         *
    1e-06       *
    1e-07         *
    1e-08           *
    1e-09              *
    1e-10               *
    1e-11               *
    1e-12                    *
    1e-13                    *

[figure: v_shape.svg]

A central difference is accurate to nine to eleven digits at best: better than 1e-10 here, and about
1e-9 in a real network. That is enough to find a wrong line of code, but not to verify the last
digits. Lesson 4 introduces a method that is accurate to fifteen digits.
"""

from math import log10, tanh

import numpy as np
import pytest

from minichar.engine import gradcheck

w, x, target = 0.4, 1.2, 0.6


def f(w):
    return (tanh(w * x) - target) ** 2


def slope(w):
    """Return f', derived by hand by combining the three backward lines of lesson 1."""
    y = tanh(w * x)
    return 2 * (y - target) * (1 - y * y) * x


def central(h):
    """Return the central difference of f at the weight w, with the step h."""
    return (f(w + h) - f(w - h)) / (2 * h)


def one_sided(h):
    """Return the one-sided difference of f at the weight w, with the step h."""
    return (f(w + h) - f(w)) / h


def error(approximation):
    return abs(approximation - slope(w)) / abs(slope(w))


def drawing(errors):
    """Draw one row per h. The further the star is to the right, the larger the error."""
    lines = ["    h      1e-12   1e-8    1e-4", "             |       |       |"]
    for h, e in errors.items():
        lines.append(f"    {h:.0e}  {' ' * round(2 * (log10(max(e, 1e-13)) + 13))}*")
    return "\n".join(lines)


def test_where_truncation_dominates_a_ten_times_smaller_step_is_a_hundred_times_more_accurate():
    """The right branch of the V has slope 2."""
    for h in (1e-1, 1e-2, 1e-3):
        assert error(central(h)) / error(central(h / 10)) == pytest.approx(100, rel=0.05)


def test_where_round_off_dominates_a_smaller_step_is_less_accurate():
    """The left branch is noisy, so take the largest error over several similar step sizes."""

    def worst(h):
        return max(error(central(h * (1 + k / 10))) for k in range(10))

    assert worst(1e-12) > 30 * worst(1e-10) > 900 * worst(1e-8)


def test_round_off_stays_within_the_precision_of_f():
    for h in (1e-7, 1e-9, 1e-11):
        allowed = 4 * np.finfo("float64").eps / h  # a few rounding errors, divided by h
        assert abs(central(h) - slope(w)) < allowed


def test_the_best_step_is_in_between():
    third = (slope(w + 1e-4) - 2 * slope(w) + slope(w - 1e-4)) / 1e-4**2  # f'''
    best = (3 * np.finfo("float64").eps * f(w) / abs(third)) ** (1 / 3)
    assert f"|f'''| is {abs(third) / f(w):.0f} times |f|" in __doc__
    assert f"the best h is {best * 1e6:.1f}e-6." in __doc__
    errors = {h: error(central(h)) for h in (1e-1, 1e-3, best, 1e-9, 1e-13)}
    assert min(errors, key=errors.get) == best
    assert errors[best] < 1e-9
    drawn = drawing({10.0**-k: error(central(10.0**-k)) for k in range(1, 14)})
    print(f"\n{drawn}")  # shown by `minichar lessons 2` and `pytest -s`
    assert "\n".join(drawn.splitlines()[:5]) in __doc__  # the other rows depend on the machine's rounding


def test_the_error_of_a_one_sided_difference_is_of_order_h_instead_of_h_squared():
    assert error(one_sided(1e-3)) / error(one_sided(1e-4)) == pytest.approx(10, rel=0.05)
    assert min(error(one_sided(10.0**-k)) for k in range(14)) > 10 * error(central(1e-5))


def test_the_engine_changes_one_weight_at_a_time():
    """The first weight is restored before the second is changed."""
    found = gradcheck.central_difference(lambda theta: f(theta[0]) * theta[1], np.array([w, 5.0]), h=1e-4)
    assert found[0] == pytest.approx(5.0 * central(1e-4), rel=1e-9)
    assert found[1] == pytest.approx(f(w), rel=1e-9)


def test_a_derivative_wrong_by_one_part_in_a_thousand_is_detected():
    reference = gradcheck.central_difference(lambda theta: f(theta[0]), np.array([w]))
    right, wrong = np.array([slope(w)]), np.array([slope(w) * 1.001])
    assert gradcheck.relative_error(right, reference) < gradcheck.CENTRAL_LIMIT  # 1e-6
    assert gradcheck.relative_error(wrong, reference) == pytest.approx(0.001, rel=1e-6)


WRITE = ("central", "one_sided")

EXERCISE = """
In minichar/engine/gradcheck.py, in central_difference, change

    gradient[j] = (above - loss(moved)).real / (2 * h)

to

    gradient[j] = (above - loss(theta)).real / h

Which tests fail? The new line also implements a well-known method. Which one?
"""

ANSWER = """
It implements the one-sided difference. test_the_engine_changes_one_weight_at_a_time fails, because
f'' no longer cancels. test_a_derivative_wrong_by_one_part_in_a_thousand_is_detected also fails: the
error of h/2 f'' is now so large that the check rejects even a correct derivative.
"""
