"""Tests for the estimated time of training steps."""

import pytest

from minichar.engine.config import Config
from minichar.training.cost import NOMINAL, Speed, parts, speed_of

SMALL, LARGE = Config(65, rnn_size=64), Config(65, rnn_size=256)
B, T = 48, 50


@pytest.mark.parametrize(
    ("config", "L", "gates", "weights", "multiplied"),
    [
        ({}, 2, 4, 239_297, 206_017),
        ({"model": "gru"}, 3, 3, 281_409, 256_449),
        ({"layer_norm": True}, 2, 4 + 5, 239_297, 206_017),
        ({"embedding": 128, "tied": True}, 2, 4, 271_553, 271_553),
        ({"embedding": 16}, 2, 4, 206_017 + 16 * 512 + 16 * 65, 206_017 + 16 * 512),
    ],
)
def test_the_terms_of_the_equation(config, L, gates, weights, multiplied):
    """A L T + B T (E L G H + F V), and C P + D B T M, in microseconds."""
    elements, products = parts(Config(65, num_layers=L, **config), B, T)
    assert elements == pytest.approx(1e-6 * (23 * L * 50 + 2400 * (0.0051 * L * gates * 128 + 0.0021 * 65)))
    assert products == pytest.approx(1e-6 * (0.02 * weights + 5.1e-5 * 2400 * multiplied))


def test_a_step_of_char_rnn_takes_47_milliseconds():
    """A network of char-rnn's size reads about 55,000 characters per second on the nominal machine."""
    assert NOMINAL.step(Config(65), 50, 50) == pytest.approx(0.047, rel=0.1)


@pytest.mark.parametrize("speed", [Speed(1.0, 1.0), Speed(3.0, 0.5), Speed(0.2, 4.0)])
def test_two_sizes_determine_the_speed(speed):
    found = speed_of([(config, B, T, speed.step(config, B, T)) for config in (SMALL, LARGE)])
    assert found.elements == pytest.approx(speed.elements)
    assert found.products == pytest.approx(speed.products)


def test_one_size_determines_the_ratio_to_the_nominal_machine():
    assert speed_of([(LARGE, B, T, 2.5 * NOMINAL.step(LARGE, B, T))]) == Speed(2.5, 2.5)


@pytest.mark.parametrize("ratios", [(1.0, 0.1), (0.1, 1.0)])
def test_if_the_times_do_not_fit_the_slower_step_counts(ratios):
    """On a GPU, for example, both sizes may take the same time."""
    sizes = zip((SMALL, LARGE), ratios, strict=True)
    found = speed_of([(config, B, T, ratio * NOMINAL.step(config, B, T)) for config, ratio in sizes])
    assert found == Speed(pytest.approx(1.0), pytest.approx(1.0))
