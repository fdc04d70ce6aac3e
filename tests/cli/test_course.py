"""Test the lessons' numbering, length, equations and exercises."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
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
    """Replace the lines `old` with `new`, as the exercise instructs."""
    lines = source.splitlines()
    # If the exercise edits the lesson file itself, its EXERCISE string also contains the old lines.
    code = lines.index('EXERCISE = """') if 'EXERCISE = """' in lines else len(lines)
    old, new = ([line.strip() for line in block.splitlines()] for block in (old, new))
    places = [i for i in range(code) if [line.strip() for line in lines[i : i + len(old)]] == old]
    assert len(places) == 1, f"{old} occurs {len(places)} times"
    start = places[0]
    indent = re.match(" *", lines[start])[0]
    lines[start : start + len(old)] = [indent + line for line in new]
    return "\n".join(lines) + "\n"


def squeezed(text):
    """Replace runs of spaces with one space."""
    return re.sub(" +", " ", text)


def equations(module):
    """Return the equations in a module's docstring, without trailing comments."""
    lines = [line.strip() for line in module.__doc__.splitlines() if " = " in line]
    return [re.split(" {3,}", line)[0] for line in lines]


def backward_lines(module):
    """Yield the assignments of a cell's backward pass, in the lessons' notation."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.endswith("backward"):
            lines = [
                ast.get_source_segment(source, line) for line in node.body if isinstance(line, ast.Assign)
            ]
            yield from (line.replace("*", "∘").replace("1.0", "1") for line in lines if "cache" not in line)


@pytest.mark.parametrize(("number", "cell"), [(7, rnn), (11, lstm), (12, gru), (12, gru_reset_before)])
def test_cell_lessons_quote_the_equations_and_backward_pass_of_the_code(number, cell):
    story = squeezed(get_lesson(str(number)).story)
    backward = list(backward_lines(cell))
    assert equations(cell)
    assert backward
    assert [line for line in equations(cell) + backward if line not in story] == []


def test_lessons_are_numbered_consecutively_from_1():
    assert [lesson.number for lesson in LESSONS] == list(range(1, len(LESSONS) + 1))
    for lesson in LESSONS:
        assert lesson.path.name.startswith(f"test_{lesson.number:02}_")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.title)
def test_lesson_fits_a_terminal(lesson):
    lines = lesson.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 240
    assert max(map(len, lesson.story.splitlines())) <= 100
    assert len(f"{lesson.title}  {lesson.summary}") <= 100


def failing_tests(lesson, directory):
    """Do the exercise in a copy of the project, and return the names of the tests that fail."""
    for folder in ("minichar", "tests/lessons"):
        shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = directory / re.match(r"In (\S+\.py)", lesson.exercise)[1]
    old, new = BLOCK.findall(lesson.exercise)
    path.write_text(edited(path.read_text(encoding="utf-8"), old, new), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "minichar", "lessons", str(lesson.number)],
        cwd=directory,
        # pytest starts faster without plugins.
        env={**ONE_THREAD, "PYTHONPATH": str(directory), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return set(re.findall(r"^FAILED .*::(\w+)", done.stdout, re.MULTILINE))


@pytest.mark.skipif("CI" not in os.environ, reason="takes 20 seconds of processor time: set CI=true")
def test_exercises_break_exactly_the_tests_named_in_the_answers(tmp_path):
    """Run the lessons in parallel because starting Python takes most of the time."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = pool.map(lambda lesson: failing_tests(lesson, tmp_path / str(lesson.number)), LESSONS)
        for lesson, names in zip(LESSONS, failed, strict=True):
            assert names == set(re.findall(r"\btest_\w+", lesson.answer)), lesson.title


def test_wheel_contains_every_lesson():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    (patterns,) = settings["data-files"].values()
    assert sorted(path.name for pattern in patterns for path in ROOT.glob(pattern)) == [
        lesson.path.name for lesson in LESSONS
    ]


def test_lesson_number_may_be_padded():
    assert get_lesson("07") == get_lesson("7") == LESSONS[6]


def test_unknown_lesson_number_raises():
    with pytest.raises(MinicharError, match="there is no lesson '99': choose one from 1 to 15"):
        get_lesson("99")


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Hide the source tree, and return an empty list of installed files for tests to fill in."""
    monkeypatch.setattr(course, "SOURCES", tmp_path / "nowhere")
    record = []
    monkeypatch.setattr(metadata, "files", lambda name: record)
    return record


def test_finds_lessons_installed_from_a_wheel(tmp_path, record):
    for lesson in LESSONS:
        record.append(metadata.PackagePath("share/minichar/lessons", lesson.path.name))
        record[-1].dist = metadata.PathDistribution(tmp_path / "minichar.dist-info")
        (tmp_path / record[-1]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(lesson.path, tmp_path / record[-1])
    assert [lesson.title for lesson in find_lessons()] == [lesson.title for lesson in LESSONS]


def test_missing_lessons_raise(record):
    with pytest.raises(MinicharError, match="the lessons are not installed: run `pip install"):
        find_lessons()


def test_missing_pytest_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(MinicharError, match=re.escape("lessons need pytest (")):
        run_lesson(LESSONS[0])
