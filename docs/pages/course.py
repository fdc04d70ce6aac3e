"""The course: one chapter per lesson, made from the test files themselves.

A lesson opens with its text, whose indented blocks are equations and drawings. Then come the
functions of the engine that it is about, its own code, and its tests, whose names are sentences.
``EXERCISE`` and ``ANSWER`` end it. All of it is read from the source, so a chapter cannot differ
from the code that runs.
"""

import ast
import re
from pathlib import Path

from minichar.cli.course import read_lesson

SHOWN_BELOW = ("EXERCISE", "ANSWER")
PACKAGES = ("engine", "training")

FIGURES = {
    "gradient_check": ("v_shape", "The error of a numerical gradient of a small LSTM, measured."),
    "rnn_step": ("rnn", "One step of an RNN."),
    "through_time": ("unrolled", "Two layers, unrolled over four characters."),
    "truncation": ("truncation", "States cross the end of a chunk, gradients do not."),
    "vanishing": ("vanishing", "The gradient of earlier inputs in fresh networks, measured."),
    "lstm": ("lstm", "One step of an LSTM. ∘ multiplies entry by entry."),
    "gru": ("gru", "One step of a GRU with its reset after the product."),
}
"""The figure of a lesson, by a word in the lesson's file name, and the figure's caption."""

INDEX = """\
# The course

Each chapter is a test file of `tests/lessons/`. It explains an idea, derives the backward pass line by
line, shows the code that implements it, and then checks every claim with a test. You need to know Python
and first-year calculus. [Notation](../notation.md) lists the letters. Each chapter ends with an
exercise: change one line and see which tests fail.

To follow along, [install minichar](../start.md), then run `pip install -e '.[test]'` in the same folder, so
that the files you edit are the files that run. `minichar lessons` lists the chapters, and `minichar
lessons 1` prints the first and runs its tests.

```{{toctree}}
:maxdepth: 1

{entries}
```
"""


def write_course(lessons: Path, package: Path, folder: Path) -> None:
    """Write ``folder/index.md`` and a page for each ``test_*.py`` in `lessons`."""
    paths = sorted(lessons.glob("test_*.py"))
    for path in paths:
        (folder / f"{page_name(path)}.md").write_text(chapter(path, package), encoding="utf-8")
    index = INDEX.format(entries="\n".join(map(page_name, paths)))
    (folder / "index.md").write_text(index, encoding="utf-8")


def page_name(path: Path) -> str:
    """Return the name of a lesson's page: ``07_rnn_step``."""
    return path.stem.removeprefix("test_")


def chapter(path: Path, package: Path) -> str:
    """Return the page of one lesson as Markdown."""
    lesson, source = read_lesson(path), path.read_text(encoding="utf-8")
    lines, (docstring, *body) = source.splitlines(), ast.parse(source).body
    page = [f"# {lesson.number}. {lesson.title}"]
    page += [
        f"*{lesson.summary[0].upper()}{lesson.summary[1:]}.*",
        lesson.story.partition("\n")[2].strip("\n"),
    ]
    page += [
        f"```{{picture}} {name}\n{words}\n```" for key, (name, words) in FIGURES.items() if key in path.stem
    ]
    files = source_files(body)
    shown = {name: used_definitions(package / name, body, files) for name in dict.fromkeys(files.values())}
    if any(shown.values()):
        page.append("## In the source")
        for name, definitions in shown.items():
            page += [f"`minichar/{name}`:", *map(fenced, definitions)] if definitions else []
    page += [
        "## Tests",
        f"What follows is `tests/lessons/{path.name}`. Run it with `minichar lessons {lesson.number}`.",
    ]
    code, start = "", docstring.end_lineno or 0
    for node in body:
        gap = "" if lines[start : start + 1] != [""] else "\n"
        piece = "\n".join(lines[start : node.end_lineno]).strip("\n")  # with the comment above it
        start = node.end_lineno or start
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            page += [fenced(code)] if code else []
            page += [f"### {sentence(node.name)}", fenced(piece)]
            code = ""
        elif not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in SHOWN_BELOW):
            code += f"{gap}{piece}\n"
    page += [fenced(code)] if code else []
    again = f"Then run `minichar lessons {lesson.number}` again. Undo the change afterwards."
    page += ["## Exercise", lesson.exercise, again, details("The answer", lesson.answer), "## Source files"]
    for name in shown:
        page.append(details(f"`minichar/{name}`", fenced((package / name).read_text(encoding="utf-8"))))
    return "\n\n".join(page) + "\n"


def source_files(body: list[ast.stmt]) -> dict[str, str]:
    """Return the file of each name that a lesson imports from the engine or from training.

    ``from minichar.engine import lstm`` gives ``{"lstm": "engine/lstm.py"}``, and
    ``from minichar.engine.linear import Linear`` gives ``{"Linear": "engine/linear.py"}``.
    """
    files = {}
    for node in body:
        if isinstance(node, ast.ImportFrom):
            _, _, module = (node.module or "").partition(".")
            for alias in node.names:
                if module in PACKAGES:
                    files[alias.name] = f"{module}/{alias.name}.py"
                elif module.partition(".")[0] in PACKAGES:
                    files[alias.name] = f"{module.replace('.', '/')}.py"
    return files


def used_definitions(path: Path, body: list[ast.stmt], files: dict[str, str]) -> list[str]:
    """Return the source of the functions and classes of a file that a lesson uses as ``module.name``."""
    used = {
        node.attr
        for statement in body
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and path.match(files.get(node.value.id, "nothing"))
    }
    source = path.read_text(encoding="utf-8")
    return [
        ast.get_source_segment(source, node) or ""
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in used
    ]


def sentence(name: str) -> str:
    """Turn the name of a test into a heading."""
    words = name.removeprefix("test_").replace("_", " ")
    return words[0].upper() + words[1:]


def fenced(code: str) -> str:
    """Return a block of Python."""
    return f"```py\n{code.strip(chr(10))}\n```"


def details(summary: str, content: str) -> str:
    """Return a block that is folded until the reader opens it."""
    shown = re.sub(r"`(.*?)`", r"<code>\1</code>", summary)
    return f"<details>\n<summary>{shown}</summary>\n\n{content}\n\n</details>"
