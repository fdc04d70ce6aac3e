import numpy as np
import pytest

from minichar.pictures.traits import correlations, traits


def of(text, name):
    return traits(text)[name].tolist()


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("position in line", "ab\n\nc\n", [1, 2, 0, 0, 1, 0]),
        ("line length", "ab\n\nc\nabc", [2, 2, 0, 1, 1, 3, 3, 3, 3]),
        ("indentation", "  a b\n\tc \nd", [1, 2, 2, 2, 2, 0, 1, 1, 1, 0, 0]),
        ("digits", "a1٣二", [0, 1, 1, 0]),
        ("sentence end", "a.b! 。c", [0, 1, 0, 1, 0, 1, 0]),
    ],
)
def test_features(name, text, values):
    assert of(text, name) == values


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('a"b"c', "01100"),
        ("a“b”c", "01100"),
        ("a「b」c", "01100"),
        ('"a\nb"', "11110"),
        ('"a\n\nb', "11100"),  # an unclosed quotation ends at the end of its paragraph
        ("it's", "0000"),
    ],
)
def test_inside_quotes(text, inside):
    assert of(text, "inside quotes") == [int(digit) for digit in inside]


def test_correlations_equal_pearsons_r(generator):
    states, values = generator.normal(size=(3, 50)), generator.normal(size=(2, 50))
    expected = np.corrcoef(states, values)[:3, 3:]
    np.testing.assert_allclose(correlations(states, values), expected, atol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_constant_has_no_correlation(generator, constant):
    values = generator.normal(size=(1, 50))
    still = np.full((1, 50), constant)
    assert correlations(still, values) == 0
    assert correlations(values, still) == 0
