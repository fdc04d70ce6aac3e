"""The course: one chapter per lesson, generated from the lesson's test file.

A chapter starts with the lesson's docstring, in which indented blocks are equations and diagrams, and
the lines ``[figure: NAME]`` and ``[output: NAME]`` place figures and the text that the lesson's functions
return. The exercise comes next, followed by the engine's functions that the lesson uses. Tests and source
files are folded. Everything is read from the source, so a chapter always matches the code.
"""

import ast
import re
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from textwrap import dedent

from minichar.cli.course import MARKER, Lesson, output, read_lesson
from pages import lstm_step
from pages.equations import BLOCK, prose, typeset

from .interactive import INTERACTIVE
from .lecturers import lecturers
from .terms import TERMS, directive

FOLDER = Path(__file__).parents[1] / "figures"
MEASURED = {0: 22, 1: 17, 4: 12, 8: 30, 11: 38, 18: 25}
"""The minutes that one reader took for a lesson and its exercise."""
WORDS_A_MINUTE = 26
"""The mean speed of that reader, by which the other lessons are estimated."""
SHOWN_BELOW = ("EXERCISE", "ANSWER", "WRITE")
OUTPUTS = Path(__file__).parents[1] / "live"
"""Directory for the text that the lessons' models generate, which takes seconds per lesson."""
MOVED = {
    "03_complex_step": "04_complex_step",
    "04_tanh_and_sigmoid": "03_tanh_and_sigmoid",
    "13_dropout": "14_dropout",
    "14_scheduled_sampling": "15_scheduled_sampling",
    "15_rmsprop": "16_rmsprop",
}
"""Chapters whose number has changed: old and new page name."""
PACKAGES = ("engine", "training", "text", "sampling")

DRAWINGS = {
    "counting": "Longer contexts help on new text up to n = 5.",
    "one_weight": "The worked example, with forward values and backward derivatives.",
    "v_shape": "Measured error of a small LSTM's numerical gradient.",
    "nonlinearities": "The two functions and their derivatives, by which the gradient is multiplied.",
    "tiny_steps": "Measured errors for the loss from lesson 1. The complex step loses no digits as h "
    "shrinks.",
    "softmax": "Probabilities, and the gradient p - onehot(target): it is negative only at the target.",
    "outer_product": "The gradient of each weight is the product of da for its row and the input for its "
    "column. Values are blue, and gradients are orange.",
    "rnn": "One step of an RNN.",
    "rnn_backward": "Its backward pass. dh is the sum of two gradients, and `dW = da @ [h_prev; x; 1]ᵀ`.",
    "unrolled": "Two layers, unrolled over four characters: the raised number is the layer, and the lowered "
    "one is the step. Each state is passed to the next step and to the layer above, so in the backward pass, "
    "its gradient is a sum of two. The shapes are those of B sequences and V characters (lessons 5 and 6).",
    "unrolled_unit": "One unit, unrolled over T steps.",
    "through_time": "The worked example: backpropagation through three steps of one unit.",
    "truncation": "States cross chunk boundaries; gradients do not.",
    "factors": "A gradient multiplied by the same factor at every step.",
    "vanishing": "The networks of the table above, at every step. The curves of the GRU and of the LSTM with "
    "a forget bias of 0 almost coincide.",
    "bracket": "One unit of a trained LSTM, from an opening bracket to the closing bracket. The last "
    "row shows the gradient along the cell state, relative to its value before the closing bracket.",
    "scale": "Random layers of 128 units, one above the other. Small weights silence them, and large ones "
    "saturate tanh. Even with b² = 3/K, the values shrink, because tanh brings them closer to 0.",
    "gru": "One step of a GRU with the reset gate applied after the matrix product. Lines that join are "
    "added.",
    "gru_backward": "Its backward pass: dh_prev = dh ∘ z + U_hᵀ @ du.",
    "dropout_mask": "Dropout with p = 0.5. The output of a dropped unit is 0, and so is its gradient.",
    "sampled_input": "Forward values and backward gradients. No gradient passes through the choice of k.",
    "temperature": "Three characters with logits 2, 1 and 0.",
    "overfitting": "The losses in the table above. The large dot marks the lowest loss on new text, and the "
    "dotted lines the losses of the two tables of counts.",
    "ravine": "25 steps of gradient descent (η = 0.019) and of RMSprop (η = 0.03). The negative gradient −g "
    "points across the ravine.",
}
"""Captions of the drawings in ``docs/figures``."""

AGAIN = {
    "18_it_writes": "The LSTM of lesson 0's figure: with 64 units, it is between the two networks below, and "
    "its text is different, so compare its loss only with the dotted lines. Its settings are those of "
    "lesson 1 (the learning rate), lesson 8 (gradients through time), lesson 10 (clipping), lesson 11 (the "
    "forget bias) and lesson 17 (temperature). The curve of the best run stays, in grey. Try to break it: "
    "start again at the largest η without clipping, and the mean loss of the first 4,000 characters is more "
    "than twice that of the uniform model (the plot ends at 5, so read the number). Clipping does not "
    "prevent this, because RMSprop (lesson 16) divides each gradient by its recent size. Train on 100,000 "
    "characters, then start again without the gradients through time: after as many characters, the loss is "
    "0.05 to 0.25 higher. Look for a unit that marks words or sentences.",
}
"""Captions of interactive figures that an earlier chapter has already shown, keyed by the chapter."""

ACRONYMS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "rmsprop": "RMSprop"}
CODE = re.compile(r"(?:minichar|tests)/[\w/]+\.py|\btest_\w+|(?<=, in )[\w.]+(?=, change)")
"""Names in an exercise or its answer: files, tests, and the function to change."""
CHANGE = re.compile(r"In minichar/(\S+\.py)[^\n]*\n+ {4}(.*)")
"""The file in the package that an exercise changes, and the first line to change."""
LESSON = re.compile(r"^<.*$|\b[Ll]esson\s(\d+)\b|\barXiv:([\d.]+\d)", re.MULTILINE)
"""References to lessons and papers, and lines of HTML, in which Markdown is not processed."""

INDEX = """\
# The course

The course begins with a table of counts that generates noise, and ends with a network that generates text.
On the way, it derives every gradient by hand. [The model in one file](../one-file.md) is the same story in
147 lines of NumPy: it trains an LSTM and generates text.

Each chapter is a test file in `tests/lessons/`. It explains an idea, derives the backward pass line by
line, shows the code that implements it, and tests the equations and the numbers. You need to know Python,
first-year calculus and what a matrix product is. [Notation](../notation.md) lists the symbols. Each chapter
has an interactive figure, in which values are blue, gradients are orange and states are green, and ends with
an exercise: change one line and see which tests fail.

To follow along, [install minichar](../start.md), then run `pip install -e '.[test]'` in the same
directory, so that your changes to the source take effect. `minichar lessons` lists the lessons,
`minichar lessons 1` prints one and runs its tests, and `minichar lessons 1 --answer` prints the answer to
its exercise. Instead of a number, you can use a word, as in `minichar lessons lstm`. To derive a lesson's
functions yourself, run `minichar lessons 11 --blank`: it writes a file with functions to fill in and, when
you run it again, shows where your results differ. Only lessons {not_blank} have no functions to fill in.
There is also a page [for lecturers](lecturers.md).

```{{raw}} html
<div class="cards">
{cards}
</div>
```

```{{toctree}}
:hidden:

{entries}
lecturers
```
"""
WRITTEN = "```{{code-block}} text\n:class: {}\n\n{}\n```"
CARD = """\
<a href="{page}.html">{picture}<b>{title}</b> <span>{summary}</span> <small>{minutes} minutes</small></a>"""


def write_course(lessons: Path, package: Path, folder: Path) -> None:
    """Write ``folder/index.md`` and one page per ``test_*.py`` file in `lessons`."""
    paths = sorted(lessons.glob("test_*.py"))
    for path in paths:
        (folder / f"{page_name(path)}.md").write_text(chapter(path, package, kept_output), encoding="utf-8")
    not_blank = [path.stem[5:7].lstrip("0") for path in paths if "\nWRITE = " not in path.read_text("utf-8")]
    index = INDEX.format(
        cards="\n".join(map(card, paths)),
        entries="\n".join(map(page_name, paths)),
        not_blank=" and ".join(not_blank),
    )
    (folder / "index.md").write_text(index, encoding="utf-8")
    taught = [(lesson, page_name(lesson.path), minutes(lesson)) for lesson in map(read_lesson, paths)]
    (folder / "lecturers.md").write_text(lecturers(taught), encoding="utf-8")


def kept_output(lesson: Lesson, name: str) -> str:
    """Return the output of a lesson's function, which is computed only if the lesson has changed."""
    kept = OUTPUTS / f"{page_name(lesson.path)}.{name}.txt"
    if not kept.exists() or kept.stat().st_mtime < lesson.path.stat().st_mtime:
        kept.write_text(output(lesson, name), encoding="utf-8")
    return kept.read_text(encoding="utf-8")


def card(path: Path) -> str:
    """Return the card of a lesson on the course's index page: its drawing, title, summary and minutes."""
    lesson = read_lesson(path)
    return CARD.format(
        page=page_name(path),
        picture=thumbnail(lesson),
        title=f"{lesson.number}. {lesson.title}",
        summary=prose(lesson.summary[0].upper() + lesson.summary[1:]),
        minutes=minutes(lesson),
    )


def minutes(lesson: Lesson) -> int:
    """Return the minutes that it takes to read a lesson and to do its exercise, or an estimate."""
    return MEASURED.get(lesson.number, 5 * ceil(len(lesson.story.split()) / WORDS_A_MINUTE / 5))


def thumbnail(lesson: Lesson) -> str:
    """Return the first drawing of a lesson as SVG, or nothing if there is none."""
    names = [name.removesuffix(".svg") for _, name in MARKER.findall(lesson.story)]
    if "lstm_step" in names:
        return f'<i class="interactive"><i class="drawing">{without_label(lstm_step.forward())}</i></i>'
    files = [FOLDER / f"{name}.svg" for name in names]
    drawing = next((file for file in files if file.exists()), None)
    return without_label(drawing.read_text(encoding="utf-8")) if drawing else ""


def without_label(svg: str) -> str:
    """Remove words and legends, which are too small on a card, and hide the drawing from screen readers."""
    svg = re.sub(r'^( *)<g id="[^"]*legend_.*?^\1</g>\n', "", svg, flags=re.DOTALL | re.MULTILINE)
    svg = re.sub(r"<metadata>.*?</metadata>|<text.*?</text>|\n\s*", " ", svg, flags=re.DOTALL)
    return re.sub(r' role="img" aria-label="[^"]*"', "", svg).replace("<svg", '<svg aria-hidden="true"', 1)


def page_name(path: Path) -> str:
    """Return the name of a lesson's page, such as ``07_rnn_step``."""
    return path.stem.removeprefix("test_")


def chapter(path: Path, package: Path, output: Callable[[Lesson, str], str]) -> str:
    """Return a lesson's page as Markdown. ``output(lesson, name)`` is the text that a function returns."""
    lesson, source = read_lesson(path), path.read_text(encoding="utf-8")
    body = ast.parse(source).body
    _, _, key = page_name(path).partition("_")
    page = [f"# {lesson.number}. {lesson.title}", directive(TERMS[key])]
    page.append(f"*{prose(lesson.summary[0].upper() + lesson.summary[1:])}.*")
    show = {
        "text": lambda text: paragraphs(text, path),
        "figure": lambda name: figure(name, path),
        "output": lambda name: written(output(lesson, name)),
    }
    page += [show[kind](part) for kind, part in parts(lesson)]
    page += [
        "## Exercise",
        with_code(lesson.exercise),
        "Run the lesson again, and then undo your change.",
        details("The answer", with_code(lesson.answer)),
    ]
    files = source_files(body)
    used = {name: used_definitions(package / name, body, files) for name in dict.fromkeys(files.values())}
    if change := CHANGE.match(lesson.exercise):
        file, line = change.groups()
        used[file] = with_change(used.get(file, []), package / file, line)
    if any(used.values()):
        page.append("## What the engine does")
        for name, definitions in used.items():
            page += [f"`minichar/{name}`:", *map(fenced, definitions)] if definitions else []
    tests = pieces(source)
    page += [
        "## Tests",
        f"Each box is a test in `tests/lessons/{path.name}`, and its title says what it tests, or contains "
        f"definitions. Run the tests with `minichar lessons "
        f"{lesson.number}`, or download the chapter as a "
        f"{{download}}`notebook <../notebooks/{page_name(path)}.ipynb>`." + not_shown(body, tests),
    ]
    for test, code in tests:
        page.append(details(sentence(test.name) if test else defined(code), fenced(code)))
    page.append("## Source files")
    for name in used:
        page.append(details(f"`minichar/{name}`", fenced((package / name).read_text(encoding="utf-8"))))
    return "\n\n".join(filter(None, page)) + "\n"


def parts(lesson: Lesson) -> Iterator[tuple[str, str]]:
    """Yield the parts of a lesson's text, without its title, and the names of the figures and outputs in it.

    Each comes with its kind: ``text``, ``figure`` or ``output``.
    """
    text, *marked = MARKER.split(lesson.story.partition("\n")[2])
    yield "text", text
    for kind, name, text in zip(marked[::3], marked[1::3], marked[2::3], strict=True):
        yield kind, name
        yield "text", text


def written(text: str) -> str:
    """Return a text in a block, whose lines are wrapped unless the marks in the next lines belong to them."""
    return WRITTEN.format("marked" if re.search(r"^[ #]*#$", text, re.MULTILINE) else "written", text)


def paragraphs(text: str, path: Path) -> str:
    """Return a part of a lesson's text as Markdown, with equations and with links to other lessons."""
    return linked(typeset(text.strip("\n") + "\n"), path.parent).rstrip("\n")


def figure(name: str, path: Path) -> str:
    """Return the directive for an interactive figure or a drawing, with its caption.

    Raises
    ------
    ValueError
        If there is no such figure.
    """
    drawing = name.removesuffix(".svg")
    if name in INTERACTIVE:
        caption = AGAIN.get(page_name(path), INTERACTIVE[name])
        return f"```{{interactive}} {name}\n{typeset(caption)}\n```"
    if drawing in DRAWINGS:
        return f"```{{picture}} {drawing}\n{typeset(DRAWINGS[drawing])}\n```"
    names = ", ".join(sorted({*INTERACTIVE, *DRAWINGS}))
    raise ValueError(f"{path.name}: there is no figure {name!r}: choose one of {names}")


def pieces(source: str) -> list[tuple[ast.FunctionDef | None, str]]:
    """Split a lesson's code into ``(test, code)`` pairs. The test is None for code outside tests.

    The docstring, the exercise, the answer and tests of the numbers in the docstring are omitted.
    """
    lines, (docstring, *body) = source.splitlines(), ast.parse(source).body
    found: list[tuple[ast.FunctionDef | None, str]] = []
    code, start = "", docstring.end_lineno or 0
    for node in body:
        gap = "" if lines[start : start + 1] != [""] else "\n"
        piece = "\n".join(lines[start : node.end_lineno]).strip("\n")  # including the comment above it
        start = node.end_lineno or start
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found += [(None, code)] if code else []
            if "__doc__" not in piece:
                found.append((node, piece))
            code = ""
        elif not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in SHOWN_BELOW):
            code += f"{gap}{piece}\n"
    return [*found, (None, code)] if code else found


def not_shown(body: list[ast.stmt], shown: list[tuple[ast.FunctionDef | None, str]]) -> str:
    """Return a sentence that names the tests of the numbers in the text, which `pieces` omits."""
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    seen = {test.name for test, _ in shown if test}
    hidden = [f"`{name}`" for name in names if name.startswith("test_") and name not in seen]
    return f" The tests of the numbers on this page are not shown: {', '.join(hidden)}." if hidden else ""


def source_files(body: list[ast.stmt]) -> dict[str, str]:
    """Map each name that a lesson imports from ``engine`` or ``training`` to its source file.

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
    """Return the source of the functions and classes in `path` that a lesson uses as ``module.name``."""
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


def with_change(definitions: list[str], path: Path, line: str) -> list[str]:
    """Return the definitions and, if none of them contains a line of `path`, the function that does."""
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()  # a source segment would end before a comment
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    found = [dedent("\n".join(lines[node.lineno - 1 : node.end_lineno])) for node in functions]
    shown = any(line in definition for definition in definitions)
    return definitions if shown else [*definitions, *(code for code in found if line in code)]


def sentence(name: str) -> str:
    """Turn a test name into a heading."""
    heading = " ".join(ACRONYMS.get(word, word) for word in name.removeprefix("test_").split("_"))
    return heading[0].upper() + heading[1:]


def defined(code: str) -> str:
    """Return the heading of code outside tests."""
    names = re.findall(r"^(?:def|class) (\w+)", code, re.MULTILINE)
    return f"Definitions of {', '.join(f'`{name}`' for name in names)}" if names else "Definitions"


def with_code(text: str) -> str:
    """Format the names of files, tests and functions as code, and typeset symbols outside indented blocks."""
    parts = re.split(f"({BLOCK.pattern})", text, flags=re.MULTILINE)
    parts[::2] = [prose(CODE.sub(r"`\g<0>`", part)) for part in parts[::2]]
    return "".join(parts)


def linked(text: str, lessons: Path) -> str:
    """Link references such as "lesson 7" to the pages of lessons that exist, and papers to arXiv."""

    def link(match: re.Match[str]) -> str:
        if match[2]:
            return f"[{match[0]}](https://arxiv.org/abs/{match[2]})"
        file = next(lessons.glob(f"test_{match[1]:0>2}_*.py"), None) if match[1] else None
        return f"[{match[0]}]({page_name(file)}.md)" if file else match[0]

    return LESSON.sub(link, text)


def fenced(code: str) -> str:
    """Wrap code in a fenced Python block."""
    return f"```py\n{code.strip(chr(10))}\n```"


def details(summary: str, content: str) -> str:
    """Return a collapsible block that is initially closed."""
    shown = re.sub(r"`(.*?)`", r"<code>\1</code>", summary)
    return f"<details>\n<summary>{shown}</summary>\n\n{content}\n\n</details>"
