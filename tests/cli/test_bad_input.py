"""Test that commands reject invalid texts and options with a one-line error and change no files."""

import re

import pytest
from toys import TOY

# Training text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "'x.txt' does not exist: choose a text file, or a directory that contains input.txt"),
        (b"", "'x.txt' is empty: choose a longer text"),
        (b"caf\xe9 " * 100, "at byte offset 3 "),
        ("the river".encode("utf-16"), "so use --encoding utf-16"),
    ],
    ids=["missing", "empty", "latin-1", "utf-16"],
)
def test_invalid_text_file(refused, checkpoint, home, content, words):
    if content is not None:
        (home / "x.txt").write_bytes(content)
    assert words in refused("train", "--data", "x.txt")
    assert words in refused("train", "--data", "x.txt", "--init-from", checkpoint)
    assert words in refused("eval", checkpoint, "--data", "x.txt")


def test_too_many_distinct_characters(refused, monkeypatch):
    """Neither the option in the message nor its remedy is one that train does not have."""
    monkeypatch.setattr("minichar.training.text.MAX_SIZE", 20)
    error = refused("train", "--data", "input.txt")
    assert re.fullmatch(
        "Error: 'input.txt' has 2. distinct characters, but a model can have at most 20: "
        "keep only frequent characters with --min-freq",
        error,
    )


# Options


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--rnn-size", -1, "from 1 to 1048576"),
        ("--dropout", -1, "at least 0 and below 1"),
        ("--learning-rate", "1e400", "a finite number"),
    ],
)
def test_numbers_that_do_not_mean_auto(refused, option, value, words):
    error = refused("train", "--data", "input.txt", *TOY, option, value)
    shown = float(value) if option == "--learning-rate" else value
    assert error == f"Error: {option} is {shown}; it must be {words}, or auto"
