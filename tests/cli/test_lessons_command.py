"""Test ``minichar lessons``."""

import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from minichar.cli.course import get_lesson


def test_lists_the_lessons(cli):
    lines = cli("lessons").stdout.splitlines()
    assert re.fullmatch(r" 1  One weight +the chain rule .*", lines[0])
    assert [int(line[:2]) for line in lines] == list(range(1, len(lines) + 1))
    assert max(map(len, lines)) <= 110


def test_prints_the_lesson_runs_it_and_prints_the_exercise(process, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    child = process("lessons", 4)
    stdout, stderr = child.communicate(timeout=600)
    assert child.returncode == 0, stdout + stderr
    story, results, exercise = re.split(r"=+ .* =+\n", stdout)
    assert story.startswith("Lesson 4. Tanh and sigmoid: two derivatives")
    assert len(re.findall(r"::test_\w+ PASSED$", results, re.MULTILINE)) >= 6
    assert exercise.strip().startswith("Exercise\n\nIn minichar/engine/functions.py, in sigmoid, change")
    assert exercise.endswith("To see the answer: minichar lessons 4 --answer\n")
    assert re.search(r"^lesson file  .*test_04_tanh_and_sigmoid\.py$", stderr, re.MULTILINE)
    assert re.search(r"^minichar/    .*minichar$", stderr, re.MULTILINE)


@pytest.mark.parametrize("name", ["99", "0", "-1", "seven", ""])
def test_unknown_lesson_is_an_error(cli, name):
    words = f"there is no lesson {name!r}: choose one from 1 to 15; `minichar lessons` lists them"
    assert cli("lessons", "--", name, status=1).stderr == f"Error: {words}\n"


def test_prints_the_exercise_and_its_answer_without_running_the_tests(cli):
    lesson = get_lesson("5")
    result = cli("lessons", 5, "--answer")
    words = f"Exercise {lesson.exercise} Answer {lesson.answer}".split()
    assert result.stdout.split() == words
    assert result.stderr == ""


@pytest.mark.parametrize(("columns", "width"), [("44", 44), ("80", 80), ("200", 100)])
def test_paragraphs_are_wrapped_to_the_terminal_and_equations_are_not(cli, monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    lesson = get_lesson("1")
    lines = cli("lessons", 1, "--answer").stdout.splitlines()
    assert "    da = dy * (1 - y * y)  # y = tanh(a)" in lines
    longest = max(map(len, f"{lesson.exercise}\n{lesson.answer}".split()))  # test names are not wrapped
    assert max(map(len, lines)) <= max(width, longest)
    prose = [(line, following) for line, following in pairwise(lines) if line[:1].strip() and following]
    assert len(prose) > 5
    assert all(len(line) + 1 + len(following.split()[0]) > width for line, following in prose)


def test_answer_requires_a_lesson(cli):
    assert "--answer requires a lesson" in cli("lessons", "--answer", status=2).stderr


@pytest.mark.parametrize(
    ("name", "number"), [("lstm", 11), ("GRU", 12), ("softmax", 5), ("clipping", 10), ("chain rule", 1)]
)
def test_a_lesson_is_found_by_a_word_in_its_heading(cli, name, number):
    assert cli("lessons", name, "--answer").stdout == cli("lessons", number, "--answer").stdout


def test_a_word_in_several_headings_is_an_error(cli):
    words = "several lessons match 'derivative': 2 (A gradient check), 3 (The complex step), "
    assert cli("lessons", "derivative", status=1).stderr.startswith(f"Error: {words}")


def test_prints_the_lesson_without_pytest(cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    result = cli("lessons", 1, status=1)
    assert result.stdout.startswith("Lesson 1. One weight:")
    assert result.stderr.startswith("Error: lessons need pytest (")
    assert "pip install -e '.[test]'" in result.stderr


def test_the_lines_that_lessons_ask_to_change_exist():
    root, found = Path(__file__).parents[2], 0
    pattern = r"In (minichar/\S+\.py), in \S+, change\n\n(.*?)\n\nto\n"
    for lesson in sorted((root / "tests" / "lessons").glob("test_*.py")):
        for file, old in re.findall(pattern, lesson.read_text("utf-8"), re.DOTALL):
            code = [line.strip() for line in (root / file).read_text("utf-8").splitlines()]
            assert all(line.strip() in code for line in old.splitlines()), (lesson.name, old)
            found += 1
    assert found >= 10
