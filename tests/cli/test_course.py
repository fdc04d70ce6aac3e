"""The course: its order and length, its equations beside the code, and what its exercises break."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from toys import ONE_THREAD

from minichar.cli import course
from minichar.cli.course import find_lessons, get_lesson, run_lesson
from minichar.engine import gru, gru_reset_before, lstm, rnn
from minichar.errors import MinicharError

ROOT = Path(__file__).parents[2]
LESSONS = find_lessons()
BLOCK = re.compile(r"^(?: {4}.*\n)+", re.MULTILINE)


def edited(source, old, new):
    """Replace the lines `old` by `new`, as a reader does in an exercise."""
    lines = source.splitlines()
    # A lesson that is its own exercise quotes the lines a second time, in EXERCISE.
    code = lines.index('EXERCISE = """') if 'EXERCISE = """' in lines else len(lines)
    old, new = ([line.strip() for line in block.splitlines()] for block in (old, new))
    places = [i for i in range(code) if [line.strip() for line in lines[i : i + len(old)]] == old]
    assert len(places) == 1, f"{old} occurs {len(places)} times"
    start = places[0]
    indent = re.match(" *", lines[start])[0]
    lines[start : start + len(old)] = [indent + line for line in new]
    return "\n".join(lines) + "\n"


def squeezed(text):
    """Text with runs of spaces reduced to one."""
    return re.sub(" +", " ", text)


def equations(module):
    """The equations in a module's docstring, without the remarks beside them."""
    lines = [line.strip() for line in module.__doc__.splitlines() if " = " in line]
    return [re.split(" {3,}", line)[0] for line in lines]


def backward_lines(module):
    """The assignments of a cell's backward pass, in the signs of the lessons."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.endswith("backward"):
            lines = [
                ast.get_source_segment(source, line) for line in node.body if isinstance(line, ast.Assign)
            ]
            yield from (line.replace("*", "∘").replace("1.0", "1") for line in lines if "cache" not in line)


@pytest.mark.parametrize(("number", "cell"), [(7, rnn), (11, lstm), (12, gru), (12, gru_reset_before)])
def test_the_lesson_on_a_cell_has_the_equations_and_the_backward_lines_of_its_source(number, cell):
    story = squeezed(get_lesson(number).story)
    backward = list(backward_lines(cell))
    assert equations(cell)
    assert backward
    assert [line for line in equations(cell) + backward if line not in story] == []


def test_they_are_numbered_from_1_without_a_gap():
    assert [lesson.number for lesson in LESSONS] == list(range(1, len(LESSONS) + 1))
    for lesson in LESSONS:
        assert lesson.path.name.startswith(f"test_{lesson.number:02}_")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.title)
def test_a_lesson_fits_a_terminal(lesson):
    lines = lesson.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180
    assert max(map(len, lesson.story.splitlines())) <= 100
    assert len(f"{lesson.title}  {lesson.summary}") <= 100


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.title)
def test_each_exercise_breaks_the_tests_that_its_answer_names(lesson, tmp_path):
    for folder in ("minichar", "tests/lessons"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / re.match(r"In (\S+\.py)", lesson.exercise)[1]
    old, new = BLOCK.findall(lesson.exercise)
    path.write_text(edited(path.read_text(encoding="utf-8"), old, new), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "minichar", "lessons", str(lesson.number)],
        cwd=tmp_path,
        env={**ONE_THREAD, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    failed = set(re.findall(r"^FAILED .*::(\w+)", done.stdout, re.MULTILINE))
    assert failed == set(re.findall(r"\btest_\w+", lesson.answer))


def test_a_wheel_contains_every_lesson():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    (patterns,) = settings["data-files"].values()
    assert {path for pattern in patterns for path in ROOT.glob(pattern)} == {
        lesson.path for lesson in LESSONS
    }


def test_an_unknown_number_is_an_error_that_gives_the_range():
    with pytest.raises(MinicharError, match="there is no lesson 99: choose one from 1 to 15"):
        get_lesson(99)


@pytest.fixture
def record(tmp_path, monkeypatch):
    """The list of files that an installation records; the sources are not there."""
    monkeypatch.setattr(course, "SOURCES", tmp_path / "nowhere")
    record = []
    monkeypatch.setattr(metadata, "files", lambda name: record)
    return record


def test_the_lessons_installed_by_a_wheel_are_found(tmp_path, record):
    for lesson in LESSONS:
        record.append(metadata.PackagePath("share/minichar/lessons", lesson.path.name))
        record[-1].dist = metadata.PathDistribution(tmp_path / "minichar.dist-info")
        (tmp_path / record[-1]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(lesson.path, tmp_path / record[-1])
    assert [lesson.title for lesson in find_lessons()] == [lesson.title for lesson in LESSONS]


def test_an_installation_without_lessons_says_how_to_get_them(record):
    with pytest.raises(MinicharError, match="the lessons are not installed: get minichar's sources"):
        find_lessons()


def test_without_pytest_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(MinicharError, match=re.escape("lessons need pytest (")):
        run_lesson(LESSONS[0])
