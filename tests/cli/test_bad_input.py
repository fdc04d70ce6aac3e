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


@pytest.mark.parametrize(
    ("command", "url"),
    [
        ("train --data", "https://example.org/a//b.txt?x=1"),
        ("sample", "HTTP://x/y"),
    ],
)
def test_a_url_is_not_a_path(refused, command, url):
    assert refused(*command.split(), url, status=2).endswith(
        f": {url} is a URL: download the file first, and use its local path"
    )


def test_too_many_distinct_characters(refused, monkeypatch):
    """Neither the option in the message nor its remedy is one that train does not have."""
    monkeypatch.setattr("minichar.training.text.MAX_SIZE", 20)
    error = refused("train", "--data", "input.txt")
    assert re.fullmatch(
        "Error: 'input.txt' has 2. distinct characters, and a model can have at most 20: "
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


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_max_time_names_its_unit(refused, command):
    error = refused(command, "--max-time", "4m", status=2)
    assert error.endswith("'--max-time': '4m' is not a number of minutes, such as 90 or 0.5")


def test_a_word_that_is_neither_auto_nor_a_number(refused):
    error = refused("train", "--rnn-size", "automatic", status=2)
    assert error.endswith("'--rnn-size': 'automatic' is neither auto nor a valid integer.")
