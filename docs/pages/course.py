"""The course: a chapter a lesson, made from the test files themselves.

A lesson opens with its story, whose indented blocks are equations and drawings; code follows,
then the tests, whose names are sentences; ``EXERCISE`` and ``ANSWER`` end it. Nothing is
written here that the file does not say, so a chapter cannot drift from what is run.
"""

import ast
import re
from pathlib import Path

from minichar.cli.course import read_lesson

SHOWN_BELOW = ("EXERCISE", "ANSWER")

FIGURES = {
    "gradient_check": ("v_shape", "The error of a numerical gradient of a small LSTM, measured."),
    "rnn_step": ("rnn", "One step of an RNN."),
    "through_time": ("unrolled", "Two layers, unrolled over four characters."),
    "truncation": ("truncation", "Values of the states cross the edge of a chunk, gradients do not."),
    "vanishing": ("vanishing", "What is left of a gradient so many steps back, in fresh networks, measured."),
    "lstm": ("lstm", "One step of an LSTM. Products are ∘, sums +."),
    "gru": ("gru", "One step of a GRU with its reset after the product."),
}
"""For a word in a lesson's name, the figure that its story is followed by, and the caption."""

INDEX = """\
# The course

Each chapter is a test file of `tests/lessons/`: an idea, its equations, the way back derived line
by line, and then the proof, which runs. It takes Python and the calculus of a first year, no more;
the letters are in [notation](../notation.md). At the end of each waits an exercise: edit one line
and see what goes red.

To follow along, [install](../start.md) and then, in the same folder, `pip install -e '.[test]'`, so
that the files you edit are the ones that run. `minichar lessons` lists the chapters, and
`minichar lessons 1` tells the first and runs it.

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
    """Return what the page of a lesson is called: ``07_rnn_step``."""
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
    page += ["## Code and proof", f"`tests/lessons/{path.name}`; `minichar lessons {lesson.number}` runs it."]
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
    again = f"Then run `minichar lessons {lesson.number}` again, and undo the change afterwards."
    page += ["## Exercise", lesson.exercise, again, details("The answer", lesson.answer), "## In minichar"]
    for name in modules(body):
        page.append(details(f"`minichar/{name}`", fenced((package / name).read_text(encoding="utf-8"))))
    return "\n\n".join(page) + "\n"


def modules(body: list[ast.stmt]) -> list[str]:
    """Return the modules of the engine and of training that a lesson imports: ``engine/lstm.py``."""
    names = [node.module or "" for node in body if isinstance(node, ast.ImportFrom)]
    names = [name.removeprefix("minichar.").replace(".", "/") for name in names]
    return [f"{name}.py" for name in names if name.startswith(("engine/", "training/"))]


def sentence(name: str) -> str:
    """Turn the name of a test into a heading."""
    words = name.removeprefix("test_").replace("_", " ")
    return words[0].upper() + words[1:]


def fenced(code: str) -> str:
    """Return a block of Python."""
    return f"```py\n{code.strip(chr(10))}\n```"


def details(summary: str, content: str) -> str:
    """Return something that opens when it is asked for."""
    shown = re.sub(r"`(.*?)`", r"<code>\1</code>", summary)
    return f"<details>\n<summary>{shown}</summary>\n\n{content}\n\n</details>"
