"""Test when `minichar train` gives advice on the size of the model, on its fit and on the number of steps."""

import re

import pytest
from toys import TOY

from minichar.cli import advice


def test_advice_on_overfitting_and_underfitting(cli, monkeypatch, measure):
    monkeypatch.setattr(advice, "FEW_UPDATES", 0)
    arguments = ["train", "--data", "input.txt", *TOY, "--eval-val-every", 15]
    falling, level = [4.0, 3.9, 3.8, 3.7, 3.6], [4.0] * 5
    for losses, fit, word in (
        (falling, 4.0, "underfitting: train longer"),
        (level, 4.0, "plateau: stop"),
        (level, 3.0, "overfitting (gap 1.00): "),
    ):
        measure(*losses, fit=fit)
        said = cli(*arguments).stderr
        before, after = said.split("epoch 1.3", 1)
        assert word not in before  # no advice in the first epoch
        assert after.count(word) == 3


def test_advice_depends_on_the_size_of_the_model_and_on_the_number_of_steps(cli, monkeypatch, measure):
    arguments = ["train", "--data", "input.txt", *TOY, "--eval-val-every", 30]
    for few, size, said in (
        (0, 8, "plateau: stop, or try a larger --rnn-size"),
        (0, 40, "plateau: stop, or try another learning rate"),
        (500, 8, "underfitting: train longer\n"),
    ):
        monkeypatch.setattr(advice, "FEW_UPDATES", few)
        measure(*[4.0] * 5, fit=4.0)
        assert said in cli(*arguments, "--rnn-size", size).stderr


LEARNED = "the cat sat on the mat and the dog ate the rat " * 8 + "zebras jump vexed quick foxes"


@pytest.mark.parametrize("options", [["--dropout", 0.5], ["--use-ss", "--start-ss", 0.5, "--min-ss", 0.5]])
def test_dropout_and_scheduled_sampling_do_not_hide_overfitting(cli, home, options):
    """Both options raise the training loss, but the advice compares losses measured without them."""
    (home / "learned.txt").write_text(LEARNED)
    arguments = [
        "--data",
        "learned.txt",
        "--rnn-size",
        40,
        "--num-layers",
        1,
        "--batch-size",
        2,
        "--seq-length",
        16,
    ]
    arguments += ["--learning-rate", 0.01, "--max-epochs", 25, "--patience", 0]
    said = cli("train", *arguments, *options).stderr
    losses = re.search(r"epoch 25.00  train (\S+)  validation (\S+) nats", said)
    assert float(losses[1]) < float(losses[2])
    assert "overfitting (gap " in said.split("epoch 25.00  train")[1]


def test_advice_on_a_model_that_is_too_large(cli):
    said = cli("train", "--data", "input.txt", *TOY, "--rnn-size", 40, "--max-epochs", 1).stderr
    assert "large for this text: try --dropout" in said


def test_advice_on_a_run_with_few_steps_because_of_long_sequences(cli):
    said = cli("train", "--data", "input.txt", *TOY, "--seq-length", 60, "--max-epochs", 1).stderr
    assert "training steps: increase --max-epochs or reduce --seq-length" in said
