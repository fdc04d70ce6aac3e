"""Generate the course notebooks from the lessons' test files with Jupytext.

The lesson's definitions come first, so that its text can show their outputs. Each test becomes a cell that
defines the test and calls it with the values of its parameters and fixtures, as pytest would.
"""

import ast
import re
from pathlib import Path

from minichar.cli.course import read_lesson

from .course import BLOCK, details, page_name, parts, pieces, sentence, typeset, with_code
from .latex import with_latex

SETUP = """\
import subprocess
import sys
from importlib.util import find_spec

packages = {"minichar": "git+REPOSITORY", "pytest": "pytest"}
missing = [package for name, package in packages.items() if find_spec(name) is None]
if missing:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *missing], check=True)
""".replace("REPOSITORY", "https://github.com/minichar/minichar")
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
EXERCISE = """\
# Make the change in a copy of minichar, and run the lesson's tests with it.
import os
import shutil
import subprocess
import sys
from pathlib import Path

import minichar

shutil.copytree(Path(minichar.__file__).parent, "exercise/minichar", dirs_exist_ok=True)
exercise_file = Path("exercise", FILE)  # lessons have no variables that begin with `exercise`
exercise_source = exercise_file.read_text(encoding="utf-8")
exercise_file.write_text(exercise_source.replace(OLD, NEW), encoding="utf-8")
exercise_run = subprocess.run(
    [sys.executable, "-c", "from minichar.cli import course; course.run_lesson(course.get_lesson(NUMBER))"],
    env={**os.environ, "PYTHONPATH": str(Path("exercise").resolve())}, capture_output=True, encoding="utf-8",
)
print(exercise_run.stdout[-3000:], exercise_run.stderr)
"""
HERE = """
In this notebook, the function is in the second cell: change it there, and run that cell and those below.
"""
FILE = re.compile(r"In (minichar/\S+\.py)")
DECORATOR = re.compile(r"^@pytest\..*\n", re.MULTILINE)
Function = ast.FunctionDef


def write_notebooks(lessons: Path, folder: Path) -> None:
    """Write one ``.ipynb`` file per lesson."""
    import jupytext

    for path in sorted(lessons.glob("test_*.py")):
        notebook = jupytext.reads(script(path), fmt="py:percent")
        notebook.metadata.update(KERNEL)
        jupytext.write(notebook, folder / f"{page_name(path)}.ipynb")


def script(path: Path) -> str:
    """Return a lesson as a Python script with cells marked by comments (Jupytext's percent format)."""
    lesson, source = read_lesson(path), path.read_text(encoding="utf-8")
    found = pieces(source)
    definitions = "\n\n".join(piece.strip("\n") for test, piece in found if test is None)
    fixtures = {node.name: node for node in ast.parse(definitions).body if isinstance(node, Function)}
    cells = [code(SETUP), code(DECORATOR.sub("", definitions))]
    title = f"# {lesson.number}. {lesson.title}\n\n"
    for kind, part in parts(lesson):
        if kind == "output":
            cells.append(code(f"print({part}())"))
        elif kind == "text" and part.strip():
            cells.append(text(title + rendered(part)))
            title = ""
    change = exercise(lesson.number, lesson.exercise)
    words = with_latex(with_code(lesson.exercise)).strip("\n")
    cells.append(text(f"## Exercise\n\n{words}\n{'' if change else HERE}"))
    cells += [code(change)] if change else []
    cells.append(text(details("The answer", with_latex(with_code(lesson.answer)))))
    for test, piece in found:
        if test:
            called = DECORATOR.sub("", piece) + calls(test, fixtures)
            cells += [text(f"## {sentence(test.name)}"), code(called)]
    return "\n".join(cells)


def rendered(story: str) -> str:
    """Return a part of a lesson's text with its equations as LaTeX."""
    return with_latex(typeset(story.strip("\n") + "\n")).strip("\n")


def exercise(number: int, words: str) -> str:
    """Return the code that makes an exercise's change to the package, or "" if it changes the lesson."""
    file = FILE.match(words)
    if file is None:
        return ""
    old, new = (block.strip() for block in re.findall(BLOCK, words))
    changed = {"FILE": file[1], "OLD": old, "NEW": new, "NUMBER": str(number)}
    return re.sub("|".join(changed), lambda match: repr(changed[match[0]]), EXERCISE)


def text(words: str) -> str:
    """Return a Markdown cell."""
    return "# %% [markdown]\n" + "".join(f"# {line}".rstrip() + "\n" for line in words.splitlines())


def code(lines: str) -> str:
    """Return a code cell."""
    return f"# %%\n{lines.strip(chr(10))}\n"


def calls(test: Function, fixtures: dict[str, Function]) -> str:
    """Return the code that calls a test once per parameter value, each time with new fixtures."""
    parametrize = [decorator.args for decorator in test.decorator_list if isinstance(decorator, ast.Call)]
    values = {ast.literal_eval(name): ast.unparse(listed) for name, listed in parametrize}
    made: dict[str, str] = {}
    for name in names(test):
        if name not in values:
            make(name, fixtures, made)
    passed = ", ".join(name if name in values else f"the_{name}" for name in names(test))
    lines = [*made.values(), f"{test.name}({passed})"]
    for name, listed in values.items():
        lines = [f"for {name} in {listed}:", *(f"    {line}" for line in lines)]
    return "\n\n\n" + "\n".join(lines)


def make(name: str, fixtures: dict[str, Function], made: dict[str, str]) -> None:
    """Add to `made` the calls to a fixture's dependencies, followed by the call to the fixture itself."""
    for below in names(fixtures[name]):
        make(below, fixtures, made)
    made[name] = f"the_{name} = {name}({', '.join(f'the_{below}' for below in names(fixtures[name]))})"


def names(function: Function) -> list[str]:
    """Return the names of a function's parameters."""
    return [argument.arg for argument in function.args.args]
