"""Test the advice on the size of the model, on its fit and on the number of steps."""

import re
from functools import partial

import pytest
from toys import TOY

from minichar.cli import advice
from minichar.cli.advice import fit_advice, updates_advice, verdict
from minichar.text.ngram import Yardstick

advice_on = partial(fit_advice, since_best=0, updates=500, total=1000, ratio=1.0, dropout=0.0)


@pytest.mark.parametrize(
    ("train", "val", "since_best", "words"),
    [
        (1.0, 1.3, 3, "overfitting (gap 0.30): try --dropout"),
        (1.0, 1.16, 9, "overfitting"),
        (1.0, 1.3, 2, ""),
        (1.0, 1.3, 0, ""),
        (1.0, 1.15, 3, ""),
        (1.0, 1.05, 0, ""),
        (1.0, 1.02, 3, ""),
        (1.0, 1.01, 3, "plateau: stop"),
        (2.0, 1.5, 3, "plateau"),
        (1.0, 1.01, 2, ""),
        (1.0, 1.01, 1, ""),
        (1.0, 1.01, 0, "underfitting: train longer"),
        (2.0, 1.5, 0, "underfitting"),
        (0.0, 0.01, 0, "underfitting"),
        (0.0, 0.009, 0, ""),
    ],
)
def test_fit_advice(train, val, since_best, words):
    advice = advice_on(train, val, since_best=since_best)
    assert advice.startswith(words)
    assert bool(advice) == bool(words)


@pytest.mark.parametrize("since_best", [0, 3])
@pytest.mark.parametrize(("ratio", "larger"), [(4.0, True), (5.0, False)])
def test_a_larger_model_is_not_recommended_if_it_is_already_large(since_best, ratio, larger):
    assert ("larger" in advice_on(1.5, 1.5, since_best=since_best, ratio=ratio)) == larger


@pytest.mark.parametrize(("since_best", "advice"), [(0, "underfitting: train longer"), (3, "")])
def test_a_short_run_is_advised_only_to_train_longer(since_best, advice):
    assert advice_on(1.5, 1.5, since_best=since_best, updates=499, total=900, ratio=0.01) == advice


@pytest.mark.parametrize(
    ("updates", "words"),
    [(1, "only 1 training step:"), (100, "only 100 training steps:"), (499, "only 499"), (500, "")],
)
def test_updates_advice(updates, words):
    assert updates_advice(updates, 2, 50).startswith(words)
    assert bool(updates_advice(updates, 2, 50)) == bool(words)


@pytest.mark.parametrize(
    ("B", "T", "words"),
    [
        (1, 50, "increase --max-epochs"),
        (2, 50, "increase --max-epochs or reduce --batch-size"),
        (2, 51, "increase --max-epochs or reduce --seq-length"),
        (1, 51, "increase --max-epochs or reduce --seq-length"),
    ],
)
def test_the_advice_names_the_size_that_can_be_reduced(B, T, words):
    assert updates_advice(100, B, T).endswith(f": {words}")


def test_more_dropout_is_not_recommended_if_there_is_much():
    assert advice_on(1.0, 1.3, since_best=3, dropout=0.24).endswith("try --dropout or a smaller --rnn-size")
    assert advice_on(1.0, 1.3, since_best=3, dropout=0.25).endswith("try more text")


@pytest.mark.parametrize(
    ("updates", "since_best", "fit", "given"),
    [(499, 0, 1.5, False), (500, 0, 1.5, True), (99, 3, 1.0, False), (100, 3, 1.0, True)],
)
def test_underfitting_and_overfitting_are_not_reported_early_in_the_run(updates, since_best, fit, given):
    assert bool(advice_on(fit, 1.5, since_best=since_best, updates=updates, total=1000)) == given


def test_advice_fits_a_terminal_beside_the_label():
    lines = [updates_advice(400, *sizes) for sizes in ((1, 50), (50, 50), (50, 100))]
    for losses, since_best in (((1.0, 1.3), 3), ((1.5, 1.5), 3), ((1.5, 1.5), 0)):
        lines.append(advice_on(*losses, since_best=since_best))
    assert all(lines)
    assert max(map(len, lines)) <= 69


@pytest.mark.parametrize(
    ("loss", "improving", "lines"),
    [
        (1.25, True, ["loss 1.250, 0.051 below the yardstick of 1.301 (6-gram)"]),
        (1.301, False, ["loss 1.301, 0.000 below the yardstick of 1.301 (6-gram)"]),
        (1.4, True, ["loss 1.400, 0.099 above the yardstick of 1.301 (6-gram)", "train longer"]),
        (
            1.4,
            False,
            [
                "loss 1.400, 0.099 above the yardstick of 1.301 (6-gram)",
                "try a larger --rnn-size with more --dropout, or more text",
            ],
        ),
    ],
)
def test_the_verdict_says_what_would_help(loss, improving, lines):
    assert verdict(loss, Yardstick(6, 1.301, 9), improving) == lines


# During training


LABELS = "overfitting|plateau|underfitting"
FALLING, LEVEL = (4.0, 3.9, 3.8, 3.7, 3.6), (4.0,) * 5


@pytest.mark.parametrize(
    ("losses", "fit", "options", "expected"),
    [
        (FALLING, 4.0, [], {3: "underfitting", 4: "underfitting", 5: "underfitting"}),
        (LEVEL, 4.0, [], {4: "plateau", 5: "plateau"}),
        ((4.0, 4.0, 4.0, 4.0, 3.9), 3.0, [], {4: "overfitting"}),
        (LEVEL, 3.0, ["--warmup", 0.7], {}),
        (LEVEL, 3.0, ["--max-epochs", 0.9, "--eval-val-every", 6], {}),  # no text has been seen twice
    ],
)
def test_advice_on_the_fit_of_the_model(cli, monkeypatch, measure, losses, fit, options, expected):
    """There are five evaluations, by default at epochs 0.45, 0.91, 1.36, 1.82 and 2."""
    monkeypatch.setattr(advice, "FEW_UPDATES", 0)
    measure(*losses, fit=fit)
    said = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 15, *options).stderr
    _, *evaluations = re.split("^epoch .* nats", said, flags=re.M)
    found = {i: re.findall(rf"^ +({LABELS})", text, re.M) for i, text in enumerate(evaluations, start=1)}
    assert found == {i: [expected[i]] if i in expected else [] for i in range(1, 6)}


def test_advice_depends_on_the_size_of_the_model_and_on_the_number_of_steps(cli, monkeypatch, measure):
    arguments = ["train", "--data", "input.txt", *TOY, "--eval-val-every", 15]
    for few, size, losses, said in (
        (0, 8, LEVEL, "plateau: stop, or try a larger --rnn-size"),
        (0, 40, LEVEL, "plateau: stop, or try another learning rate"),
        (500, 8, FALLING, "underfitting: train longer\n"),
    ):
        monkeypatch.setattr(advice, "FEW_UPDATES", few)
        measure(*losses, fit=4.0)
        assert said in cli(*arguments, "--rnn-size", size).stderr


def test_advice_on_a_run_with_few_steps_because_of_long_sequences(cli):
    said = cli("train", "--data", "input.txt", *TOY, "--seq-length", 60, "--max-epochs", 1).stderr
    assert "training steps: increase --max-epochs or reduce --seq-length" in said
