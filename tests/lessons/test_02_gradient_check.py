"""Lesson 2. A gradient check: push and look, and why its error is shaped like a V.

You have a derivative by hand. Is it right? Push w to both sides, look what the loss does:

    central difference      f'(w)  ≈  (f(w + h) - f(w - h)) / 2h

How well does it do? Taylor's series says, with all derivatives taken at w,

    f(w + h) = f + h f' + h²/2 f'' + h³/6 f''' + …
    f(w - h) = f - h f' + h²/2 f'' - h³/6 f''' + …

Subtract: f and f'' cancel. What is left, over 2h, is f' + h²/6 f''' + …, so the method is wrong
by h²/6 f'''. This is *truncation*, and a smaller h makes it smaller: ten times smaller, a hundred
times better. (Push to one side only, (f(w + h) - f(w)) / h, and f'' stays: off by h/2 f''.)

But a computer keeps 16 digits. f(w + h) and f(w - h) are known to about ε|f|, with ε = 2.2e-16,
and as h shrinks they agree in more and more digits, which the subtraction throws away. This is
*round-off*, about ε|f| / h, and a smaller h makes it larger.

    error  ≈  h²/6 |f'''|  +  ε|f| / h          smallest near h = ∛(3ε |f| / |f'''|), about 1e-5

Here is the error measured, as a share of f', on the loss of lesson 1: a V that has fallen over,
one arm of slope 2 and a ragged one of slope -1.

    h        1e-12     1e-10     1e-8      1e-6      1e-4      1e-2
    1e-01                                                           *
    1e-02                                                 *
    1e-03                                       *
    1e-04                             *
    1e-05                    *
    1e-06               *
    1e-07                   *
    1e-08                         *
    1e-09                                *
    1e-10                                   *
    1e-11                                  *
    1e-12                                               *
    1e-13                                                *

So a central difference is good to ten digits at best: near 1e-10 here, 1e-9 in a real network.
That is plenty to see a wrong line of code, and too little to see the last digit. Lesson 3 can.
"""

from math import log10, tanh

import numpy as np
import pytest

from minichar.engine.gradcheck import CENTRAL_LIMIT, central_difference, relative_error

w, x, target = 0.4, 1.2, 0.6


def f(w):
    return (tanh(w * x) - target) ** 2


def slope(w):
    """f' by hand: the three backward lines of lesson 1 in one."""
    y = tanh(w * x)
    return 2 * (y - target) * (1 - y * y) * x


def central(h):
    return (f(w + h) - f(w - h)) / (2 * h)


def one_sided(h):
    return (f(w + h) - f(w)) / h


def error(approximation):
    return abs(approximation - slope(w)) / abs(slope(w))


def drawing(errors):
    """The error for each h, as a row of text: the further right the star, the larger."""
    lines = ["    h        1e-12     1e-10     1e-8      1e-6      1e-4      1e-2"]
    for h, e in errors.items():
        lines.append(f"    {h:.0e}  {' ' * round(5 * (log10(max(e, 1e-13)) + 13))}*")
    return "\n".join(lines)


def test_with_a_large_push_a_ten_times_smaller_one_is_a_hundred_times_better():
    """Truncation: the right arm of the V has slope 2."""
    for h in (1e-1, 1e-2, 1e-3):
        assert error(central(h)) / error(central(h / 10)) == pytest.approx(100, rel=0.05)


def test_with_a_tiny_push_a_smaller_one_is_worse():
    """Round-off: the left arm. It is ragged, so look at the worst of some pushes of about the same size."""

    def worst(h):
        return max(error(central(h * (1 + k / 10))) for k in range(10))

    assert worst(1e-12) > 30 * worst(1e-10) > 900 * worst(1e-8)


def test_round_off_stays_below_what_the_digits_of_f_allow():
    for h in (1e-7, 1e-9, 1e-11):
        allowed = 4 * np.finfo("float64").eps / h  # a few roundings of tanh and (y - target)², over h
        assert abs(central(h) - slope(w)) < allowed


def test_the_best_push_is_in_between():
    errors = {h: error(central(h)) for h in (1e-1, 1e-3, 1e-5, 1e-9, 1e-13)}
    assert min(errors, key=errors.get) == 1e-5
    assert errors[1e-5] < 1e-9
    drawn = drawing({10.0**-k: error(central(10.0**-k)) for k in range(1, 14)})
    print(f"\n{drawn}")  # `minichar lessons 2` and `pytest -s` show it
    assert "\n".join(drawn.splitlines()[:5]) in __doc__  # round-off below may differ from machine to machine


def test_a_push_to_one_side_only_is_off_by_h_and_not_by_h_squared():
    assert error(one_sided(1e-3)) / error(one_sided(1e-4)) == pytest.approx(10, rel=0.05)
    assert min(error(one_sided(10.0**-k)) for k in range(14)) > 10 * error(central(1e-5))


def test_the_engine_pushes_every_weight_in_the_same_way():
    """One at a time: the first is back in its place when the second is pushed."""
    found = central_difference(lambda theta: f(theta[0]) * theta[1], np.array([w, 5.0]), h=1e-4)
    assert found[0] == pytest.approx(5.0 * central(1e-4), rel=1e-9)
    assert found[1] == pytest.approx(f(w), rel=1e-9)


def test_a_derivative_that_is_wrong_by_one_part_in_a_thousand_is_seen():
    reference = central_difference(lambda theta: f(theta[0]), np.array([w]))
    right, wrong = np.array([slope(w)]), np.array([slope(w) * 1.001])
    assert relative_error(right, reference) < CENTRAL_LIMIT  # 1e-6
    assert relative_error(wrong, reference) == pytest.approx(0.001, rel=1e-6)


EXERCISE = """
In minichar/engine/gradcheck.py, in central_difference, change

    gradient[j] = (above - loss(moved)).real / (2 * h)

to

    gradient[j] = (above - loss(theta)).real / h

What goes red? The change is no nonsense: the new line is a method too. Which one?
"""

ANSWER = """
test_the_engine_pushes_every_weight_in_the_same_way goes red: pushed to one side only, f'' no
longer cancels. It is the one-sided difference. So does
test_a_derivative_that_is_wrong_by_one_part_in_a_thousand_is_seen, whose first line asks that a right
derivative pass: off by h/2 f'', the method now calls a right gradient wrong, at any limit as strict.
"""
