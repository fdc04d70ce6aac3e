import numpy as np
import pytest

from minichar.pictures.traits import correlations, traits


def of(text, name):
    return traits(text)[name].tolist()


def test_position_in_line():
    assert of("ab\n\nc\n", "position in line") == [1, 2, 0, 0, 1, 0]


def test_line_length_includes_the_whole_current_line():
    assert of("ab\n\nc\nabc", "line length") == [2, 2, 0, 1, 1, 3, 3, 3, 3]


def test_indentation_counts_the_spaces_before_the_first_word():
    assert of("  a b\n\tc \nd", "indentation") == [1, 2, 2, 2, 2, 0, 1, 1, 1, 0, 0]


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


def test_digits_and_sentence_ends():
    assert of("a1٣二", "digits") == [0, 1, 1, 0]
    assert of("a.b! 。c", "sentence end") == [0, 1, 0, 1, 0, 1, 0]


def test_correlations_equal_pearsons_r(generator):
    states, values = generator.normal(size=(3, 50)), generator.normal(size=(2, 50))
    expected = np.corrcoef(states, values)[:3, 3:]
    np.testing.assert_allclose(correlations(states, values), expected, atol=1e-12)


def test_scaled_copies_have_a_correlation_of_1_or_minus_1(generator):
    values = generator.normal(size=(1, 50))
    np.testing.assert_allclose(correlations(np.vstack([3 * values + 1, -values]), values), [[1], [-1]])


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_constant_has_no_correlation(generator, constant):
    values = generator.normal(size=(1, 50))
    still = np.full((1, 50), constant)
    assert correlations(still, values) == 0
    assert correlations(values, still) == 0
