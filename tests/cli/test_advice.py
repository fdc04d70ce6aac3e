import pytest

from minichar.cli.advice import fit_advice, size_advice, updates_advice


@pytest.mark.parametrize(
    ("parameters", "characters", "words"),
    [
        (500_000, 100_000, "large for this text"),
        (400_000, 100_000, "size suits this text"),
        (240_000, 465_000, "size suits this text"),
        (10_000, 100_000, "size suits this text"),
        (9_999, 100_000, "small for this text"),
        (1, 1, "size suits this text"),
    ],
)
def test_size_advice(parameters, characters, words):
    assert size_advice(parameters, characters).startswith(words)


def test_size_advice_names_an_option():
    assert "--dropout" in size_advice(10, 1)
    assert "--rnn-size" in size_advice(1, 100)


@pytest.mark.parametrize(
    ("train", "val", "words"),
    [
        (1.0, 1.3, "overfitting (gap 0.30): try --dropout"),
        (1.0, 1.16, "overfitting"),
        (1.0, 1.15, ""),
        (1.0, 1.05, ""),
        (1.0, 1.01, "underfitting"),
        (1.5, 1.5, "underfitting"),
        (2.0, 1.5, "underfitting"),
    ],
)
def test_fit_advice(train, val, words):
    advice = fit_advice(train, val)
    assert advice.startswith(words)
    assert bool(advice) == bool(words)


@pytest.mark.parametrize(("before", "word"), [(1.51, "underfitting"), (1.501, "plateau"), (1.4, "plateau")])
def test_fit_advice_on_a_plateau(before, word):
    assert fit_advice(1.5, 1.5, before).startswith(word)


@pytest.mark.parametrize(("updates", "words"), [(100, "only 100 steps"), (499, "only 499"), (500, "")])
def test_updates_advice(updates, words):
    assert updates_advice(updates).startswith(words)
    assert bool(updates_advice(updates)) == bool(words)
