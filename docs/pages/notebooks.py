"""Generate the course notebooks from the lessons' test files with Jupytext.

Each test becomes a cell that defines the test and calls it with the values of its parameters and fixtures,
as pytest would. Equations are copied without typesetting.
"""

import ast
import re
from pathlib import Path

from minichar.cli.course import read_lesson

from .course import MARKER, details, page_name, pieces, sentence, with_code

SETUP = """\
import subprocess
import sys
from importlib.util import find_spec

if find_spec("minichar") is None:
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "pytest", "git+REPOSITORY"], check=True)
""".replace("REPOSITORY", "https://github.com/minichar/minichar")
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
HIDDEN = ' jupyter={"source_hidden": true}'
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
    _, _, story = MARKER.sub("", lesson.story).partition("\n")
    cells = [text(f"# {lesson.number}. {lesson.title}\n\n{story.strip()}"), code(SETUP)]
    if "__doc__" in source:  # some tests check numbers in the lesson's docstring
        cells.append(code(f"__doc__ = {ast.get_docstring(ast.parse(source), clean=False)!r}", HIDDEN))
    fixtures: dict[str, Function] = {}
    for test, piece in pieces(source):
        cells += [text(f"## {sentence(test.name)}")] if test else []
        plain = DECORATOR.sub("", piece)
        cells.append(code(plain + calls(test, fixtures) if test else plain))
        if test is None:
            fixtures |= {node.name: node for node in ast.parse(piece).body if isinstance(node, Function)}
    answer = details("The answer", with_code(lesson.answer))
    cells.append(text(f"## Exercise\n\n{with_code(lesson.exercise)}\n\n{answer}"))
    return "\n".join(cells)


def text(words: str) -> str:
    """Return a Markdown cell."""
    return "# %% [markdown]\n" + "".join(f"# {line}".rstrip() + "\n" for line in words.splitlines())


def code(lines: str, options: str = "") -> str:
    """Return a code cell."""
    return f"# %%{options}\n{lines.strip(chr(10))}\n"


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
