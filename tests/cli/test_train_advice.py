"""Test when `minichar train` gives advice on the size of the model, on its fit and on the number of steps."""

import re

import pytest
from toys import TOY

from minichar.cli import advice

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
