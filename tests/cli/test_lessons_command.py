import re
import sys

import pytest


def test_without_a_number_they_are_listed(cli):
    lines = cli("lessons").stdout.splitlines()
    assert re.fullmatch(r" 1  One weight +the chain rule .*", lines[0])
    assert [int(line[:2]) for line in lines] == list(range(1, len(lines) + 1))
    assert max(map(len, lines)) <= 110


def test_a_lesson_is_told_then_run_and_ends_with_its_exercise(process, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    child = process("lessons", 4)
    stdout, stderr = child.communicate(timeout=60)
    assert child.returncode == 0, stdout + stderr
    story, claims, exercise = re.split(r"=+ .* =+\n", stdout)
    assert story.startswith("Lesson 4. Tanh and sigmoid: two slopes")
    assert len(re.findall(r"::test_\w+ PASSED$", claims, re.MULTILINE)) >= 7
    assert exercise.strip().startswith(
        "Exercise\n\nIn minichar/engine/functions.py, in sigmoid_slope, change"
    )
    assert re.search(r"^this lesson  .*test_04_tanh_and_sigmoid\.py$", stderr, re.MULTILINE)
    assert re.search(r"^minichar/    .*minichar$", stderr, re.MULTILINE)


def test_no_such_lesson(cli):
    assert (
        cli("lessons", 99, status=1).stderr == "Error: there is no lesson 99: the lessons go from 1 to 15\n"
    )


@pytest.mark.parametrize("number", ["0", "-1", "seven"])
def test_not_a_number_of_a_lesson(cli, number):
    cli("lessons", "--", number, status=2)


def test_without_pytest_the_story_can_still_be_read(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    result = cli("lessons", 1, status=1)
    assert result.stdout.startswith("Lesson 1. One weight:")
    assert result.stderr.startswith("Error: a lesson is run by pytest (")
    assert result.stderr.endswith("pip install -e '.[test]'\n")
