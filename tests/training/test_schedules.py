from dataclasses import replace
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minichar.training.schedules import SS_SCHEDULES, rates, teacher_forcing_ratio
from minichar.training.settings import Settings


def learning_rates(n, **options):
    """Return the learning rates of a run of n steps."""
    settings = Settings(**{"learning_rate": 1.0, "warmup": 0.0} | options)
    return [rates(settings, i, 1, n)[0] for i in range(n)]


@pytest.mark.parametrize("after", [0, 1, 10])
def test_step_decay_is_that_of_char_rnn(after):
    """char-rnn multiplies the rate at the end of each epoch, starting with epoch `after`."""
    factor, decay = 1.0, 0.97
    found = learning_rates(30, learning_rate_decay=decay, learning_rate_decay_after=after)
    for e in range(30):
        assert found[e] == pytest.approx(factor, rel=1e-12)
        epoch = e + 1  # char-rnn counts epochs from 1
        if epoch >= after:
            factor = factor * decay


@pytest.mark.parametrize(
    ("i", "ema", "d"), [(0, 0.99, 0.1), (8, 0.99, 0.5), (90, 0.99, 0.91), (5000, 0.99, 0.99), (90, 0.5, 0.5)]
)
def test_the_decay_of_the_average_rises_to_its_limit(i, ema, d):
    assert rates(Settings(ema=ema, learning_rate=1e-3, warmup=0.0), i, 1, 1)[2] == pytest.approx(d)


def test_warmup_example():
    # The warm-up takes 0.4 of 7 steps, rounded to 3.
    assert learning_rates(7, warmup=0.4) == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0, 1.0], rel=1e-15)
    assert learning_rates(1) == [1.0], "without warm-up, the first step has the full rate"


def test_linear_and_exponential_schedules():
    # The default ratio is 1 - 0.005 · e, and reaches its minimum of 0.9 at epoch 20.
    settings = Settings(use_ss=True, learning_rate=1.0, warmup=0.0)
    ratios = [rates(settings, 2 * e, 2, 8)[1] for e in (0, 1, 10, 20, 21, 1000)]
    assert ratios == pytest.approx([1.0, 0.995, 0.95, 0.9, 0.9, 0.9], rel=1e-15)
    assert rates(replace(settings, use_ss=False), 40, 2, 8)[1] == 1.0
    # k = 1 - 0.5:  0.8, 0.8 · 0.5, 0.8 · 0.25, then the minimum
    settings = replace(settings, ss_schedule="exponential", start_ss=0.8, decay_ss=0.5, min_ss=0.15)
    ratios = [rates(settings, i, 2, 8)[1] for i in range(8)]
    assert ratios[::2] == ratios[1::2] == pytest.approx([0.8, 0.4, 0.2, 0.15], rel=1e-15)


def test_inverse_sigmoid_schedule():
    # k = 1 / 0.1 = 10:  10 / (10 + e⁰) = 10/11,  10 / (10 + e¹),  10 / (10 + e²)
    ratios = [teacher_forcing_ratio(e, "inverse-sigmoid", 1.0, 0.1, 0.0) for e in (0, 10, 20)]
    assert ratios == pytest.approx([10 / 11, 10 / (10 + exp(1)), 10 / (10 + exp(2))], rel=1e-14)
    # A large e must not overflow. With a decay of 0, the ratio is constant.
    assert teacher_forcing_ratio(1_000_000, "inverse-sigmoid", 1.0, 0.5, 0.25) == 0.25
    assert teacher_forcing_ratio(7, "inverse-sigmoid", 0.75, 0.0, 0.0) == 0.75


@given(
    schedule=st.sampled_from(SS_SCHEDULES),
    start=st.floats(0, 1),
    decay=st.floats(0, 1).map(lambda decay: round(decay, 6)),
    minimum=st.floats(0, 1),
    e=st.integers(0, 10_000),
)
def test_the_teacher_forcing_ratio_never_rises_and_never_falls_below_its_minimum(
    schedule, start, decay, minimum, e
):
    now, later = (teacher_forcing_ratio(epoch, schedule, start, decay, minimum) for epoch in (e, e + 1))
    assert minimum <= later <= now <= max(start, minimum)
