"""Test `minichar train --data -`, which reads the text from standard input."""

import os

import pytest
from toys import TEXT, TOY


def test_text_from_standard_input(cli, home):
    said = cli("train", "--data", "-", *TOY, "--max-epochs", 1, stdin=TEXT)
    assert f"text       cv/input.txt: {len(TEXT):,} characters" in said.stderr
    assert (home / "cv" / "input.txt").read_text() == TEXT
    assert "validation split" in cli("eval", said.stdout.strip()).stdout
    resumed = cli("train", "--resume", "--data", "-", "--max-epochs", 2, stdin=TEXT)
    assert "resumed    at epoch 1.00" in resumed.stderr


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
    assert "too few" in cli("train", "--data", "-", stdin="short", status=1).stderr
    assert (home / "cv" / "input.txt").read_text() == "short"
    (home / "cv" / "input.txt").rename(home / "cv" / "other.txt")
    assert "is not utf-8 text" in cli("train", "--data", "-", stdin=b"\xff", status=1).stderr
    assert sorted(os.listdir(home / "cv")) == ["other.txt"]


def test_standard_input_is_saved_beside_the_checkpoint_to_resume(cli, home):
    cli("train", "--data", "-", *TOY, "--max-epochs", 1, "--checkpoint-dir", "mine", stdin=TEXT)
    resume = ("train", "--data", "-", "--resume", "mine", "--max-epochs", 2)
    cli(*resume, "--checkpoint-dir", "other", stdin=TEXT)
    assert (home / "other" / "input.txt").exists()
    cli(*resume, stdin=TEXT)
    error = cli("train", "--data", "-", "--resume", "absent", status=1, stdin=TEXT).stderr
    assert "no such checkpoint: 'absent'" in error or "no checkpoint in absent" in error
    (home / "empty").mkdir()
    assert "no checkpoint in empty/" in cli("train", "--data", "-", "--resume", "empty", status=1).stderr
    assert sorted(os.listdir(home)) == ["empty", "input.txt", "mine", "other"]
    assert os.listdir(home / "empty") == []
