"""Test that commands reject invalid texts and options with a one-line error and change no files."""

import os
import re

import pytest
from toys import TOY

# Training text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "'x.txt' does not exist: choose a text file, or a directory that contains input.txt"),
        (b"", "'x.txt' is empty: choose a longer text"),
        (b"\xef\xbb\xbf", "'x.txt' is empty"),
        (b"a", "'x.txt' has only one character"),
        ("汉".encode(), "'x.txt' has only one character"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0" * 30, "looks like a binary file"),
        (bytes(range(256)) * 4, "at byte offset 128"),
        ("the river 汉".encode()[:-1], "at byte offset 10 "),
        (b"caf\xe9 " * 100, "at byte offset 3 "),
        ("the river".encode("utf-16"), "so use --encoding utf-16"),
    ],
    ids=["missing", "empty", "BOM", "one", "one wide", "binary", "bytes", "truncated", "latin-1", "utf-16"],
)
def test_invalid_text_file(refused, checkpoint, home, content, words):
    if content is not None:
        (home / "x.txt").write_bytes(content)
    assert words in refused("train", "--data", "x.txt")
    assert words in refused("train", "--data", "x.txt", "--init-from", checkpoint)
    assert words in refused("eval", checkpoint, "--data", "x.txt")


def test_directory_without_input_txt(refused, home):
    (home / "folder").mkdir()
    assert "'folder' contains no .txt files: choose a text file" in refused("train", "--data", "folder")


@pytest.mark.parametrize(
    "url", ["https://example.org/a//b.txt?x=1", "HTTP://x/y", "file:///tmp/x", "s3://b/k"]
)
@pytest.mark.parametrize("command", [["train", "--data"], ["sample"], ["eval", "--data"], ["plot"]], ids=str)
def test_a_url_is_not_a_path(refused, command, url):
    assert refused(*command, url, status=2).endswith(
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


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_text_is_not_a_regular_file(refused, home, kind):
    """Unlike unreadable files, these files are rejected even if the tests run as root."""
    path = home / "x" / "input.txt"
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    assert "'x/input.txt' is not a regular file" in refused("train", "--data", "x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can read every file")
def test_text_without_read_permission(refused, home):
    (home / "x.txt").write_text("the river")
    (home / "x.txt").chmod(0)
    assert "Permission denied" in refused("train", "--data", "x.txt")


def test_text_with_a_read_error(refused, home, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("minichar.text.joining.FileIO", fail)
    assert "cannot read 'input.txt': Input/output error" in refused("train", "--data", "input.txt")


def test_text_is_too_short(refused, home):
    (home / "x.txt").write_text("the river")
    assert re.search(
        r"'x.txt' has 9 characters, too few for .*: use at least \d+", refused("train", "--data", "x.txt")
    )


def test_min_freq_excludes_every_character(refused):
    assert "no character occurs 100000 or more times" in refused(
        "train", "--data", "input.txt", "--min-freq", 100_000
    )


# Options


def test_max_time_names_its_unit(cli):
    stderr = cli("train", "--max-time", "4m", status=2).stderr
    assert stderr.endswith(
        "Error: Invalid value for '--max-time': '4m' is not a number of minutes, such as 90 or 0.5\n"
    )


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--rnn-size", (0, 2**40)),
        ("--num-layers", (0, -1, 10**9)),
        ("--batch-size", (-1,)),
        ("--seq-length", (-1,)),
        ("--max-epochs", (-1, 1e16, "nan")),
        ("--max-time", (-1, "inf")),
        ("--warmup", (-0.1, 1)),
        ("--eval-val-every", (-1,)),
        ("--dropout", (1, -0.1, "nan")),
        ("--learning-rate", (0, "nan", "inf")),
        ("--learning-rate-decay", (0, 1.5)),
        ("--learning-rate-decay-after", (-1,)),
        ("--decay-rate", (1, -0.5)),
        ("--weight-decay", (-0.1, "inf")),
        ("--grad-clip", (-1, "nan")),
        ("--clip-norm", (-1, "inf")),
        ("--train-frac", (0, -1, 1.5, "nan", "inf", 0.96)),
        ("--val-frac", (-0.1, 0.06, "nan", 2)),
        ("--start-ss", (-1, 2)),
        ("--decay-ss", (-1,)),
        ("--min-ss", (1.5,)),
        ("--min-freq", (-1,)),
        ("--seed", (-1,)),
        ("--keep", (-1,)),
        ("--sample-every", (-1,)),
        ("--savefile", ("a/b", "../x")),
        ("--title", ("two\nlines", "x" * 101)),
        ("--encoding", ("klingon", "", "base64", "rot13")),
    ],
)
def test_option_out_of_range(refused, option, values):
    for value in values:
        refused("train", "--data", "input.txt", *TOY, option, value)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--batch-size", 0, "at least 1"),
        ("--seq-length", 0, "at least 1"),
        ("--max-epochs", 0, "above 0"),
        ("--eval-val-every", 0, "at least 1"),
        ("--rnn-size", -1, "from 1 to 1048576"),
        ("--dropout", -1, "at least 0 and below 1"),
        ("--embedding", -1, "from 0 to 1048576"),
        ("--patience", -1, "at least 0"),
        ("--learning-rate", -1, "above 0"),
        ("--warmup", -1, "at least 0 and below 1"),
        ("--weight-decay", -1, "at least 0"),
        ("--max-val-chunks", -1, "at least 0"),
    ],
)
def test_numbers_that_do_not_mean_auto(refused, option, value, words):
    error = refused("train", "--data", "input.txt", *TOY, option, value)
    assert error == f"Error: {option} is {value}; it must be {words}, or auto"


@pytest.mark.parametrize("option", ["--learning-rate", "--clip-norm", "--start-ss"])
def test_numbers_that_are_not_finite(refused, option):
    error = refused("train", "--data", "input.txt", *TOY, option, "1e400")
    or_auto = ", or auto" if option == "--learning-rate" else ""
    assert error == f"Error: {option} is inf; it must be a finite number{or_auto}"


def test_words_that_are_neither_auto_nor_a_number(cli):
    error = cli("train", "--rnn-size", "automatic", status=2).stderr.splitlines()[-1]
    assert error.endswith("'--rnn-size': 'automatic' is neither auto nor a valid integer.")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--rnn-size", "many"),
        ("--rnn-size", "8.5"),
        ("--learning-rate", "fast"),
        ("--model", "transformer"),
        ("--split", "rows"),
        ("--ss-schedule", "cosine"),
        ("--ss-feed", "beam"),
        ("--dtype", "float16"),
        ("--print-every", 0),
        ("--unheard-of", 1),
    ],
)
def test_option_of_the_wrong_type(refused, option, value):
    refused("train", "--data", "input.txt", *TOY, option, value, status=2)


def test_fractions_with_a_sum_above_1(refused):
    fractions = ["--train-frac", 0.7, "--val-frac", 0.4]
    error = refused("train", "--data", "input.txt", *fractions)
    assert error.startswith("Error: --train-frac is 0.7 and --val-frac is 0.4: the first must be above 0, ")
    assert "their sum at most 1" in error
