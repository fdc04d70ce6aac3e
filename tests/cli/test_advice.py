"""Test the advice on the size of the model, on its fit and on the number of steps."""

import re

import pytest
from toys import TOY

from minichar.cli import advice
from minichar.cli.advice import fit_advice, length_advice, updates_advice, verdict
from minichar.text.ngram import Yardstick

FEW = "measured on only 249 held-out characters"


@pytest.mark.parametrize(
    ("train", "val", "options", "words"),
    [
        (1.0, 1.3, {"since_best": 3}, "overfitting (gap 0.30): try more --dropout or more text"),
        (1.0, 1.3, {"since_best": 3, "dropout": 0.25}, "overfitting (gap 0.30): try more text"),
        (1.0, 1.3, {"since_best": 3, "updates": 99}, ""),
        (1.0, 1.3, {"since_best": 3, "updates": 100}, "overfitting"),
        (1.0, 1.3, {"since_best": 2}, ""),
        (1.0, 1.15, {"since_best": 3}, ""),
        (1.0, 1.02, {"since_best": 3}, ""),
        (1.0, 1.01, {"since_best": 3}, "plateau: stop, or try a larger --rnn-size or another"),
        (1.0, 1.01, {"since_best": 3, "ratio": 5.0}, "plateau: stop, or try another learning rate"),
        (1.0, 1.01, {"since_best": 3, "updates": 499, "total": 900}, ""),
        (1.0, 1.01, {"since_best": 3, "ratio": 4.0}, "plateau: stop, or try a larger --rnn-size or another"),
        (1.0, 1.01, {"since_best": 3, "total": 1001}, ""),
        (0.0, 0.01, {"since_best": 3}, "plateau"),
        (0.0, 0.009, {"since_best": 3}, ""),
    ],
)
def test_fit_advice(train, val, options, words):
    advice = fit_advice(
        train, val, **{"since_best": 0, "updates": 500, "total": 1000, "ratio": 1.0, "dropout": 0.0} | options
    )
    assert advice.startswith(words)
    assert bool(advice) == bool(words)


@pytest.mark.parametrize(
    ("updates", "B", "T", "words"),
    [
        (1, 1, 50, "only 1 training step: increase --max-epochs"),
        (499, 2, 50, "only 499 training steps: increase --max-epochs or reduce --batch-size"),
        (499, 1, 51, "only 499 training steps: increase --max-epochs or reduce --seq-length"),
        (500, 2, 50, ""),
    ],
)
def test_updates_advice(updates, B, T, words):
    assert updates_advice(updates, B, T) == words


@pytest.mark.parametrize(
    ("loss", "characters", "uniform", "line"),
    [
        (1.25, 250, 4.0, "good: loss 1.250, 0.051 below the yardstick of 1.301 (6-gram)"),
        (1.25, 249, 4.0, f"unclear: loss 1.250, 0.051 below the yardstick of 1.301 (6-gram)\n{FEW}"),
        (1.4, 249, 4.0, f"unclear: loss 1.400, 0.099 above the yardstick of 1.301 (6-gram)\n{FEW}"),
        (1.301, 250, 1.301, "not good yet: loss 1.301, 0.000 above the yardstick of 1.301 (6-gram)"),
        (1.24947, 250, 4.0, "good: loss 1.250, 0.051 below the yardstick of 1.301 (6-gram)"),  # as 1.2495 is
        (1.4, 250, 4.0, "not good yet: loss 1.400, 0.099 above the yardstick of 1.301 (6-gram)"),
        (0.009, 249, 0.0, "good: loss 0.009, almost zero"),
        (0.01, 250, 0.0, "not good yet: loss 0.010, 0.010 above the uniform baseline of 0.000"),
        (1.25, 250, 1.2, "not good yet: loss 1.250, 0.050 above the uniform baseline of 1.200"),
    ],
)
def test_a_loss_is_good_if_it_is_below_the_yardstick_and_the_uniform_baseline(
    loss, characters, uniform, line
):
    assert "\n".join(verdict(loss, characters, Yardstick(6, 1.301, 9), uniform)) == line


def test_length_advice():
    assert length_advice(4999) == ["the text is very short: use at least 5,000 characters"]
    assert length_advice(5000) == []


# During training


FALLING, LEVEL = (4.0, 3.9, 3.8, 3.7, 3.6), (4.0,) * 5
LARGER = "plateau: stop, or try a larger --rnn-size or another learning rate"
ANOTHER = "plateau: stop, or try another learning rate"


@pytest.mark.parametrize(
    ("losses", "fit", "options", "expected"),
    [
        (FALLING, 4.0, [], {}),
        (LEVEL, 4.0, [], {4: LARGER}),
        (LEVEL, 4.0, ["--rnn-size", 40], {4: ANOTHER}),
        (LEVEL, 4.0, ["--dropout", 0.1], {4: LARGER}),
        ((4.0, 4.0, 4.0, 4.0, 3.9), 3.0, [], {4: "overfitting (gap 1.00): try more --dropout or more text"}),
        (LEVEL, 3.0, ["--warmup", 0.7], {}),
        (LEVEL, 3.0, ["--max-epochs", 0.9, "--eval-val-every", 6], {}),  # no text has been seen twice
    ],
)
def test_advice_on_the_fit_of_the_model(cli, monkeypatch, measure, losses, fit, options, expected):
    """There are five evaluations, by default at epochs 0.45, 0.91, 1.36, 1.82 and 2."""
    monkeypatch.setattr(advice, "FEW_UPDATES", 0)
    measure(*losses, fit=fit)
    run = *TOY, "--max-epochs", 2, "--eval-val-every", 15
    said = cli("train", "--data", "input.txt", *run, *options).stderr
    _, *evaluations = re.split("^epoch .* validation", said, flags=re.M)
    found = {
        i: re.findall("^ +((?:overfitting|plateau).*)", text, re.M) for i, text in enumerate(evaluations, 1)
    }
    assert found == {i: [expected[i]] if i in expected else [] for i in range(1, 6)}
    without = ", without dropout" if "--dropout" in options else ""
    measured = f"\n           training loss with the same weights{without}: {fit:.4f}\n"
    assert said.count(measured) == len(expected)
