"""Test `minichar train --init-from`, which starts from the weights of another model."""

import re

import numpy as np
import pytest
from toys import TEXT, TOY

from minichar import load


def test_init_from_keeps_the_architecture_and_matches_characters(cli, train, home):
    first = train("--model", "gru")
    (home / "new.txt").write_text(TEXT.upper() + TEXT)
    options = [*TOY[-6:], "--max-epochs", 1, "--savefile", "second"]  # without --rnn-size
    result = cli("train", "--data", "new.txt", *options, "--init-from", first)
    assert load(result.stdout.strip()).config.model == "gru-reset-before"
    assert load(result.stdout.strip()).config.rnn_size == 8
    assert re.search(r"characters new to the model, initialised randomly \(\d+\): 'A'", result.stderr)
    wrong = cli("train", "--data", "new.txt", *TOY, "--init-from", first, "--rnn-size", 9, status=1)
    assert "Error: --rnn-size 9 does not match the --init-from model" in wrong.stderr
    wrong = cli("train", "--resume", first, "--init-from", first, status=2)
    assert "--resume and --init-from are mutually exclusive" in wrong.stderr


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_init_from_reads_every_format(cli, train, suffix):
    """The learning rate is too small to change the weights."""
    pytest.importorskip({".safetensors": "safetensors"}.get(suffix, "numpy"))
    first = train("--learning-rate", 0.02)
    cli("convert", first, f"model{suffix}", "--inference")
    tuned = cli(
        *("train", "--data", "input.txt", "--init-from", f"model{suffix}", "--learning-rate", 1e-30),
        *("--batch-size", 4, "--seq-length", 6, "--max-epochs", 1, "--checkpoint-dir", "tuned"),
    ).stdout.strip()
    np.testing.assert_array_equal(load(tuned).parameters.flat, load(first).parameters.flat)


def test_the_cell_of_the_initial_model_can_be_repeated(cli, train):
    path = train("--model", "gru", "--max-epochs", 1)  # with the recipe char-rnn
    options = ("--init-from", path, "--data", "input.txt", "--max-epochs", 1, "--checkpoint-dir", "tuned")
    for repeated in (("--model", "gru-reset-before"), ("--recipe", "char-rnn", "--model", "gru")):
        assert "GRU (reset before" in cli("train", *options, *repeated).stderr
    error = cli("train", *options, "--model", "gru", status=1).stderr
    assert "--model gru does not match the --init-from model, which has gru-reset-before" in error
