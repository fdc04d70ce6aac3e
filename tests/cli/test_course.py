"""The course as a whole: its order, its length, and that each exercise turns red what its answer says."""

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

from minichar.cli import course as lessons
from minichar.cli.course import find_lessons, get_lesson, run_lesson
from minichar.errors import MinicharError

ROOT = Path(__file__).parents[2]
LESSONS = find_lessons()
BLOCK = re.compile(r"^(?: {4}.*\n)+", re.MULTILINE)


def answer(lesson):
    module = ast.parse(lesson.path.read_text(encoding="utf-8"))
    return next(node.value.value for node in module.body[::-1] if node.targets[0].id == "ANSWER")


def edited(source, old, new):
    """Put the lines of one block of an exercise in the place of those of another, as a reader would."""
    lines = source.splitlines()
    code = lines.index('EXERCISE = """') if 'EXERCISE = """' in lines else len(lines)  # not what tells of it
    old, new = ([line.strip() for line in block.splitlines()] for block in (old, new))
    places = [i for i in range(code) if [line.strip() for line in lines[i : i + len(old)]] == old]
    assert len(places) == 1, f"{old} stands there {len(places)} times"
    start = places[0]
    indent = re.match(" *", lines[start])[0]
    lines[start : start + len(old)] = [indent + line for line in new]
    return "\n".join(lines) + "\n"


def test_they_are_numbered_from_1_without_a_gap():
    assert [lesson.number for lesson in LESSONS] == list(range(1, len(LESSONS) + 1))
    for lesson in LESSONS:
        assert lesson.path.name.startswith(f"test_{lesson.number:02}_")


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.title)
def test_a_lesson_fits_a_terminal_and_a_sitting(lesson):
    lines = lesson.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180
    assert max(map(len, lesson.story.splitlines())) <= 100
    assert len(f"{lesson.title}  {lesson.summary}") <= 100


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.title)
def test_each_exercise_turns_red_what_its_answer_names(lesson, tmp_path):
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
    red = set(re.findall(r"^FAILED .*::(\w+)", done.stdout, re.MULTILINE))
    assert red == set(re.findall(r"\btest_\w+", answer(lesson)))


def test_a_wheel_takes_all_of_them_along():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    (patterns,) = settings["data-files"].values()
    assert {path for pattern in patterns for path in ROOT.glob(pattern)} == {
        lesson.path for lesson in LESSONS
    }


def test_no_such_lesson():
    with pytest.raises(MinicharError, match="there is no lesson 99: the lessons go from 1 to 15"):
        get_lesson(99)


@pytest.fixture
def record(tmp_path, monkeypatch):
    """An installation without its sources, and the list of files that its wheel brought along."""
    monkeypatch.setattr(lessons, "SOURCES", tmp_path / "nowhere")
    record = []
    monkeypatch.setattr(metadata, "files", lambda name: record)
    return record


def test_the_lessons_of_a_wheel_are_found(tmp_path, record):
    for lesson in LESSONS:
        record.append(metadata.PackagePath("share/minichar/lessons", lesson.path.name))
        record[-1].dist = metadata.PathDistribution(tmp_path / "minichar.dist-info")
        (tmp_path / record[-1]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(lesson.path, tmp_path / record[-1])
    assert [lesson.title for lesson in find_lessons()] == [lesson.title for lesson in LESSONS]


def test_an_installation_without_them_says_where_they_are(record):
    with pytest.raises(MinicharError, match="came without the lessons: get minichar's sources"):
        find_lessons()


def test_without_pytest_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(MinicharError, match=re.escape("pip install 'minichar[test]'")):
        run_lesson(LESSONS[0])
