import pytest

from minichar.cli.advice import fit_advice, size_advice, updates_advice


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (4.01, "large for this text"),
        (4.0, "appropriate size for this text"),
        (0.1, "appropriate size for this text"),
        (0.09, "small for this text"),
    ],
)
def test_size_advice(ratio, words):
    assert size_advice(ratio).startswith(words)


def test_size_advice_names_an_option():
    assert "--dropout" in size_advice(10)
    assert "--rnn-size" in size_advice(0.01)


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
    advice = fit_advice(train, val, before=4.0, updates=500, ratio=1.0)
    assert advice.startswith(words)
    assert bool(advice) == bool(words)


@pytest.mark.parametrize(("before", "word"), [(1.51, "underfitting"), (1.501, "plateau"), (1.4, "plateau")])
def test_fit_advice_on_a_plateau(before, word):
    assert fit_advice(1.5, 1.5, before, updates=500, ratio=1.0).startswith(word)


@pytest.mark.parametrize("before", [1.6, 1.5])
@pytest.mark.parametrize(
    ("updates", "ratio", "larger"), [(500, 4.0, True), (499, 4.0, False), (500, 5.0, False)]
)
def test_a_larger_model_is_not_recommended_if_it_is_already_large_or_the_run_is_short(
    before, updates, ratio, larger
):
    assert ("larger" in fit_advice(1.5, 1.5, before, updates, ratio)) == larger


@pytest.mark.parametrize("before", [1.6, 1.5])
def test_a_short_run_is_advised_only_to_train_longer(before):
    assert fit_advice(1.5, 1.5, before, updates=499, ratio=0.01) == "underfitting: train longer"


@pytest.mark.parametrize(
    ("updates", "words"), [(100, "only 100 training steps"), (499, "only 499"), (500, "")]
)
def test_updates_advice(updates, words):
    assert updates_advice(updates).startswith(words)
    assert bool(updates_advice(updates)) == bool(words)
