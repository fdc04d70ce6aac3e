"""`minichar eval` warns about overlap with the training text only on the training text itself."""

import pytest

OTHER_LAYOUT = ("--split", "tail")


@pytest.fixture
def path(train):
    return train()


def test_another_layout_of_the_training_text_gives_a_warning(cli, path):
    result = cli("eval", path, *OTHER_LAYOUT)
    assert "--split differ from training" in result.stderr
    assert "is not the text" not in result.stderr
    assert "differ from training" not in cli("eval", path).stderr


def test_another_layout_of_another_text_gives_none(cli, path, home):
    (home / "other.txt").write_text((home / "input.txt").read_text()[:-1])
    result = cli("eval", path, "--data", "other.txt", *OTHER_LAYOUT)
    assert f"other.txt is not the text that {path} was trained on" in result.stderr
    assert "differ from training" not in result.stderr


def test_the_text_is_recognised_by_content_not_by_name(cli, path, home):
    (home / "input.txt").rename(home / "moved.txt")
    result = cli("eval", path, "--data", "moved.txt")
    assert "is not the text" not in result.stderr
