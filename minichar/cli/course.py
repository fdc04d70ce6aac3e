"""Find, read and run the lessons of the course.

A lesson is a test file ``test_NN_name.py``. The module docstring is the lesson text. The first line of the
docstring has the form ``Lesson N. Title: summary.`` Each lesson file ends with two strings, ``EXERCISE`` and
``ANSWER``. In a source tree, the lessons are in ``tests/lessons``; a wheel installs them as data files.

A line ``[figure: NAME]`` in the text shows a figure of ``docs/interactive`` or, as ``NAME.svg``, a drawing of
``docs/figures`` on the site. A line ``[output: NAME]`` shows the text that the lesson's function ``NAME()``
returns.
"""

import ast
import os
import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from types import ModuleType
from typing import Any

from minichar.errors import MinicharError
from minichar.terminal import unescaped

PACKAGE = Path(__file__).parents[1]
SOURCES = PACKAGE.parent / "tests" / "lessons"
MARKER = re.compile(r"^\[(figure|output): ([\w.]+)\]$", re.MULTILINE)
WIDTH = 72
"""Maximum line length of an output, in characters."""
FIRST_LINE = re.compile(r"Lesson (\d+)\. (.+?): (.+)\.")


@dataclass(frozen=True)
class Lesson:
    """A lesson: its test file, number, title and summary, its docstring, and its exercise."""

    path: Path
    number: int
    title: str
    summary: str
    story: str
    exercise: str
    answer: str

    @property
    def heading(self) -> str:
        """The title and the summary, as listed by ``minichar lessons``."""
        return f"{self.title}: {self.summary}"


def find_lessons() -> list[Lesson]:
    """Return the lessons in order, or raise a `MinicharError` if they are not installed."""
    files = sorted(SOURCES.glob("test_*.py")) or sorted(installed())
    if not files:
        raise MinicharError(
            "the lessons are not installed: run `pip install -e '.[test]'` in minichar's source directory"
        )
    return [read_lesson(path) for path in files]


def installed() -> Iterator[Path]:
    """Yield the paths of lessons installed from a wheel."""
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("minichar") or []:
            path = Path(str(file.locate())).resolve()
            if file.match("minichar/lessons/test_*.py") and path.exists():
                yield path


def read_lesson(path: Path) -> Lesson:
    """Parse a lesson without importing it."""
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


def get_lesson(name: str) -> Lesson:
    """Return the lesson whose number is `name` (such as ``7`` or ``07``) or whose heading contains `name`."""
    lessons = find_lessons()
    found = [lesson for lesson in lessons if name.isdecimal() and lesson.number == int(name)]
    if not found and re.search("[A-Za-z]", name):
        found = [lesson for lesson in lessons if name.lower() in lesson.heading.lower()]
    if len(found) == 1:
        return found[0]
    if found:
        choices = ", ".join(f"{lesson.number} ({lesson.title})" for lesson in found)
        raise MinicharError(f"multiple lessons match {name!r}: {choices}; choose one by its number")
    raise MinicharError(
        f"there is no lesson {name!r}: choose one from {lessons[0].number} to {lessons[-1].number}; "
        "`minichar lessons` lists them"
    )


def import_pytest() -> ModuleType:
    """Import pytest, which the lessons need, or raise a `MinicharError` that says how to install it."""
    try:
        return import_module("pytest")
    except ImportError as error:
        raise MinicharError(
            f"lessons need pytest ({error}): run `pip install -e '.[test]'` in minichar's source directory, "
            "or `pip install pytest` if you skip the exercises"
        ) from error


def output(lesson: Lesson, name: str) -> str:
    """Return the text that a lesson's function returns, wrapped. Files that it writes are discarded."""
    import_pytest()
    with TemporaryDirectory() as folder, chdir(folder):
        text = definitions(lesson.path)[name]()
    return "\n".join(fill(line, WIDTH) if len(line) > WIDTH else line for line in text.split("\n"))


@cache
def definitions(path: Path) -> dict[str, Any]:
    """Execute a lesson once, so that its functions can share a trained model."""
    return runpy.run_path(str(path))


def pytest_options(lesson: Lesson) -> list[str]:
    """Return options that ignore any configuration, fixtures and cache in the lesson's directory."""
    os.environ.pop("PYTEST_ADDOPTS", None)
    return ["-c", os.devnull, "--rootdir", str(lesson.path.parent), "--noconftest", "-p", "no:cacheprovider"]


def run_lesson(lesson: Lesson) -> int:
    """Run a lesson's tests, print the results to standard output, and return pytest's exit status."""
    pytest = import_pytest()
    # Do not capture output: some lessons print measurements.
    # Tests compare code with the lesson's text, which would fill the screen.
    short = ["--tb=short", "-o", "verbosity_assertions=0"]
    shown = ["--verbose", "--no-header", "--capture=no", *short]
    with redirect_stdout(unescaped(sys.stdout)):  # for pytest's colours
        return int(pytest.main([*pytest_options(lesson), *shown, str(lesson.path)]))
