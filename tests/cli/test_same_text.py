"""Test that `minichar eval` warns about an overlap only when it evaluates on the training text."""

import pytest

OTHER_LAYOUT = ("--split", "tail")


@pytest.fixture
def path(train):
    return train()


def test_other_split_of_the_training_text_warns(cli, path):
    result = cli("eval", path, *OTHER_LAYOUT)
    assert "--split changed since training" in result.stderr
    assert "is not the text" not in result.stderr
    assert "changed since training" not in cli("eval", path).stderr


def test_other_split_of_another_text_does_not_warn(cli, path, home):
    (home / "other.txt").write_text((home / "input.txt").read_text()[:-1])
    result = cli("eval", path, "--data", "other.txt", *OTHER_LAYOUT)
    assert f"other.txt is not the text that {path} was trained on" in result.stderr
    assert "changed since training" not in result.stderr


def test_training_text_is_recognised_by_content(cli, path, home):
    (home / "input.txt").rename(home / "moved.txt")
    result = cli("eval", path, "--data", "moved.txt")
    assert "is not the text" not in result.stderr
