"""The course: lessons that are tests. Found, listed, told, and run.

A lesson is a file ``test_NN_name.py``. Its docstring is the story, with the first line
``Lesson N. Title: summary.``; the string ``EXERCISE`` at its end is for the reader to do.
In the sources they are in ``tests/lessons``; a wheel brings them along as data.
"""

import ast
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

from minichar.errors import MinicharError

PACKAGE = Path(__file__).parents[1]
SOURCES = PACKAGE.parent / "tests" / "lessons"
FIRST_LINE = re.compile(r"Lesson (\d+)\. (.+?): (.+)\.")


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes
    ----------
    path : Path
    number : int
    title, summary : str
        A few words, and a line.
    story : str
        The whole docstring.
    exercise, answer : str
    """

    path: Path
    number: int
    title: str
    summary: str
    story: str
    exercise: str
    answer: str


def find_lessons() -> list[Lesson]:
    """Return the lessons in their order.

    Raises
    ------
    MinicharError
        If they did not come along with this installation.
    """
    files = sorted(SOURCES.glob("test_*.py")) or sorted(installed())
    if not files:
        raise MinicharError(
            "this installation came without the lessons: get minichar's sources and pip install -e '.[test]'"
        )
    return [read_lesson(path) for path in files]


def installed() -> Iterator[Path]:
    """Yield the lessons that a wheel brought along."""
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("minichar") or []:
            path = Path(str(file.locate())).resolve()
            if file.match("minichar/lessons/test_*.py") and path.exists():
                yield path


def read_lesson(path: Path) -> Lesson:
    """Read a lesson without running it."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    story = ast.get_docstring(module) or ""
    number, title, summary = re.match(FIRST_LINE, story).groups()  # type: ignore[union-attr]
    strings = {
        target.id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    exercise, answer = (str(strings[name]).strip() for name in ("EXERCISE", "ANSWER"))
    return Lesson(path, int(number), title, summary, story, exercise, answer)


def get_lesson(number: int) -> Lesson:
    """Return a lesson by its number.

    Raises
    ------
    MinicharError
        If there is none of that number.
    """
    lessons = find_lessons()
    for lesson in lessons:
        if lesson.number == number:
            return lesson
    raise MinicharError(f"there is no lesson {number}: the lessons go from 1 to {len(lessons)}")


def run_lesson(lesson: Lesson) -> int:
    """Run a lesson's tests, printing to standard output; return pytest's exit status.

    Raises
    ------
    MinicharError
        If pytest cannot be imported.
    """
    try:
        pytest = import_module("pytest")
    except ImportError as error:
        raise MinicharError(
            f"a lesson is run by pytest ({error}): pip install 'minichar[test]', or in minichar's sources, "
            "so that an exercise changes the code that runs, pip install -e '.[test]'"
        ) from error
    # A lesson stands alone: no options of the environment, no settings, fixtures or cache of the folder
    # that it happens to lie in.
    os.environ.pop("PYTEST_ADDOPTS", None)
    alone = ["-c", os.devnull, "--rootdir", str(lesson.path.parent), "--noconftest", "-p", "no:cacheprovider"]
    # Some lessons draw what they measure, so what they print is shown.
    return int(pytest.main([*alone, "--verbose", "--no-header", "--capture=no", str(lesson.path)]))
