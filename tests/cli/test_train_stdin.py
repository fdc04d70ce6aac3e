"""Test `minichar train --data -`, which reads the text from standard input."""

import os

import pytest
from toys import TEXT, TOY


def test_standard_input_is_saved_in_the_directory_of_the_run(cli, home):
    said = cli("train", "--data", "-", *TOY, "--max-epochs", 1, "--checkpoint-dir", "mine", stdin=TEXT)
    assert f"text       mine/input.txt: {len(TEXT):,} characters" in said.stderr
    assert (home / "mine" / "input.txt").read_text() == TEXT
    assert "validation split" in cli("eval", said.stdout.strip()).stdout
    resume = ("train", "--data", "-", "--max-epochs", 2, "--resume")
    cli(*resume, "mine", "--checkpoint-dir", "other", stdin=TEXT)
    assert (home / "other" / "input.txt").exists()
    assert "resumed    at epoch 1.00" in cli(*resume, "mine", stdin=TEXT).stderr
    cli(*resume[:3], "--max-epochs", 3, "--resume", "--checkpoint-dir", "mine", stdin=TEXT)
    (home / "empty").mkdir()
    for absent, words in (("absent", "no such checkpoint: 'absent'"), ("empty", "no checkpoint in empty/")):
        assert words in cli(*resume, absent, status=1).stderr
    assert sorted(os.listdir(home)) == ["empty", "input.txt", "mine", "other"]
    assert os.listdir(home / "empty") == []


@pytest.mark.parametrize(
    ("command", "text", "words"),
    [
        ("train --checkpoint-dir a/b", "", "is empty"),
        ("train --checkpoint-dir a/b", b"\xff", "is not utf-8 text"),
        ("train --checkpoint-dir a/b", TEXT, "which does not occur in"),
        ("sweep --search learning_rate=0.01,0.02 --sweep-dir a/b", TEXT, "which does not occur in"),
    ],
)
def test_unusable_standard_input_leaves_no_files(cli, home, command, text, words):
    """The last two errors occur after the text has been encoded."""
    if command.startswith("sweep"):
        pytest.importorskip("optuna")
    before = sorted(home.rglob("*"))
    error = cli(*command.split(), "--data", "-", "--reset-on", "qq", stdin=text, status=1).stderr
    assert words in error
    assert sorted(home.rglob("*")) == before


def test_files_that_existed_before_unusable_standard_input_are_kept(cli, home):
    (home / "cv").mkdir()
    (home / "cv" / "input.txt").write_text("short")
    error = cli("train", "--data", "-", *TOY, stdin=TEXT, status=1).stderr
    assert "cv/input.txt contains a different text" in error
    assert "chunk need 17: use a longer text" in cli("train", "--data", "-", stdin="short", status=1).stderr
    assert (home / "cv" / "input.txt").read_text() == "short"
    (home / "cv" / "input.txt").rename(home / "cv" / "other.txt")
    assert "is not utf-8 text" in cli("train", "--data", "-", stdin=b"\xff", status=1).stderr
    assert sorted(os.listdir(home / "cv")) == ["other.txt"]
