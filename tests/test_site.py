"""Test the generated pages. ``.ci/run`` builds the whole site with warnings treated as errors."""

import base64
import csv
import hashlib
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest

from minichar.cli import COMMANDS, main
from minichar.cli.course import read_lesson
from minichar.cli.examples import EXAMPLES
from minichar.cli.options import DescribedArgument

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minichar"
LESSONS = sorted((ROOT / "tests" / "lessons").glob("test_*.py"))
LESSON = '''"""Lesson 7. A step: forward and dW backward.

An introduction with `code`:

    y = w x          forward
    dw = dy x        backward

More text (lesson 8), as in lesson 9.
"""

from minichar.engine import lstm
from minichar.engine.linear import Linear

x = 2.0


# A comment.
def forward(w):
    return w * x


def test_the_slope_of_an_rnn_is_x():
    assert forward(1.5) - forward(0.5) == x
    assert lstm.backward


EXERCISE = """
In minichar/engine/lstm.py, in __call__, change

    return w * x

to

    return w

and run the test.
"""

ANSWER = """
test_the_slope fails: dW is 0.
"""
'''


DW = '<span class="together"><math><mrow><mi>d</mi><mi>W</mi></mrow></math></span>'

FIXTURES = """
import pytest


@pytest.fixture
def one():
    return []


@pytest.fixture
def two(one):
    one.append(0)
    return one


@pytest.mark.parametrize("n", [1, 2])
def test_fixtures(n, two, one):
    assert two is one
    calls.append((n, two))


def test_doc():
    assert "dw = dy x" in __doc__
"""


@pytest.fixture
def pages(docs_pages):
    return docs_pages("commands"), docs_pages("course")


def name_of(lesson, name):
    """Return a text in place of the output of a lesson's function."""
    return f"{name} of {lesson.number}"


def test_a_lesson_becomes_a_chapter(pages, tmp_path):
    path = tmp_path / "test_07_step.py"
    path.write_text(LESSON)
    (tmp_path / "test_08_more.py").touch()
    chapter = pages[1].chapter(path, PACKAGE, name_of)
    in_order = [
        f"# 7. A step\n\n*Forward and {DW} backward.*\n\nAn introduction",
        "<td class=comment colspan=1>backward</td></tr>\n</table>\n</div>\n\nMore text",
        " ([lesson 8](08_more.md)), as in lesson 9.",
        "## Exercise\n\nIn `minichar/engine/lstm.py`, in `__call__`, change\n\n    return w * x\n\nto",
        f"<summary>The answer</summary>\n\n`test_the_slope` fails: {DW} is 0.\n\n</details>",
        "## What the engine does\n\n`minichar/engine/lstm.py`:\n\n```py\ndef backward(",
        "import Linear\n\nx = 2.0\n\n# A comment.\ndef forward(w):\n",
        "<summary>The slope of an RNN is x</summary>\n\n```py\ndef test_the_slope_of_an_rnn_is_x():\n",
        "<summary><code>minichar/engine/lstm.py</code></summary>",
        "<summary><code>minichar/engine/linear.py</code></summary>",
    ]
    places = [chapter.find(piece) for piece in in_order]
    assert -1 not in places
    assert places == sorted(places)
    assert "EXERCISE" not in chapter
    assert "def forward(xp" not in chapter[: chapter.index("## Source files")]  # not used in the lesson
    assert (PACKAGE / "engine" / "linear.py").read_text(encoding="utf-8").strip() in chapter


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem.removeprefix("test_"))
def test_a_chapter_shows_what_its_exercise_changes_and_which_tests_fail(pages, path):
    chapter, lesson = pages[1].chapter(path, PACKAGE, name_of), read_lesson(path)
    shown, tests = chapter[: chapter.index("## Source files")].split("## Tests")
    if lesson.exercise.startswith("In minichar/"):
        line = re.search("^ {4}(.*)", lesson.exercise, re.MULTILINE)[1]
        assert shown[shown.index("## What the engine does") :].count(line) == 1
    for name in re.findall(r"test_\w+", lesson.answer):
        assert f"def {name}(" in tests or f"`{name}`" in tests


def test_every_chapter_has_a_figure_and_terms_and_every_drawing_is_in_a_chapter(pages):
    drawings = set()
    for path in (ROOT / "tests" / "lessons").glob("test_*.py"):
        chapter = pages[1].chapter(path, PACKAGE, name_of)
        assert "\n\n```{interactive} " in chapter, path.name
        assert "\n\n```{index} ! " in chapter, path.name
        drawings |= {*re.findall(r"^```{picture} (\w+)$", chapter, re.MULTILINE)}
    assert drawings == {*pages[1].DRAWINGS}


def test_a_lesson_places_its_figures(pages, tmp_path):
    path = tmp_path / "test_11_lstm.py"
    marked = "[figure: gru.svg]\n\nMore text (lesson 8)\n\n[figure: train]\n\n[output: it_writes]\n\nis"
    path.write_text(LESSON.replace("More text (lesson 8), as", marked))
    chapter = pages[1].chapter(path, PACKAGE, name_of)
    in_order = [
        "backward</td></tr>\n</table>\n</div>\n\n```{picture} gru\nOne step of a GRU",
        "```\n\nMore text (lesson 8)\n\n```{interactive} train\nPress Train.",
        "```\n\n```{code-block} text\n:class: written\n\nit_writes of 7\n```",
        "```\n\nis in lesson 9.",
    ]
    places = [chapter.find(piece) for piece in in_order]
    assert -1 not in places
    assert places == sorted(places)
    assert chapter.count("```{") == 4  # with the index
    path.write_text(LESSON.replace("More text", "[figure: nothing]\n\nMore text"))
    with pytest.raises(
        pages[1].UnknownFigure, match=r"^test_11_lstm.py: there is no figure 'nothing': .*, lstm,"
    ):
        pages[1].chapter(path, PACKAGE, name_of)


def test_a_lesson_becomes_a_notebook_that_runs_its_tests(pages, tmp_path):
    from pages import notebooks

    path = tmp_path / "test_07_step.py"
    lesson = LESSON.replace("More text", "[figure: train]\n\nMore text")
    path.write_text(lesson.replace("\n\nEXERCISE", FIXTURES + "\n\nEXERCISE"))
    script = notebooks.script(path)
    assert "# [figure" not in script
    # The text in two parts, the exercise and its answer, and two tests; the test of the text is left out.
    assert script.count("# %% [markdown]\n") == 6
    assert "$=dy\\,x$" in script
    assert "__doc__" not in script
    assert "<math" not in script
    assert "@pytest" not in script
    assert "# EXERCISE" not in script
    cells = script.split("# %%")
    (change,) = [cell for cell in cells if "source.replace('return w * x', 'return w')" in cell]
    cells.remove(change)  # it would copy the package
    ran: dict = {"calls": []}
    exec("# %%".join(cells), ran)
    assert ran["calls"] == [(1, [0]), (2, [0])]  # new fixtures for each value
    with pytest.raises(AssertionError):
        exec("# %%".join(cells).replace("return w * x", "return w"), {"calls": []})


def test_every_formula_in_a_notebook_is_latex(docs_pages):
    converter = pytest.importorskip("latex2mathml.converter")
    typeset, with_latex = docs_pages("equations").typeset, docs_pages("latex").with_latex
    for path in (ROOT / "tests" / "lessons").glob("test_*.py"):
        story = with_latex(typeset(read_lesson(path).story))
        assert not re.search('<math|class="together', story)
        for formula in re.findall(r"\$([^$]*)\$", story):
            assert formula.isascii(), (path.name, formula)
            converter.convert(formula)


def test_slides_contain_the_equations_figures_and_outputs_of_a_lesson(docs_pages, tmp_path, monkeypatch):
    slides = docs_pages("slides")
    path = tmp_path / "test_07_step.py"
    marked = "[figure: rnn.svg]\n\n[output: it_writes]\n\n[figure: rnn_step]\n\nMore text"
    path.write_text(LESSON.replace("More text", marked))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "rnn.svg").write_text("<svg>A step</svg>")
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "interactive.css").write_text(".stage {}")
    monkeypatch.setattr(slides, "DOCS", tmp_path)
    found = re.findall("<section>\n(.*?)\n</section>", slides.deck(path, name_of), re.DOTALL)
    title, equations, drawing, output, interactive, exercise = found
    assert title.startswith("<h1>7. A step</h1><p>forward and ")
    assert "An introduction with `code`" in equations
    assert "<td class=left><math" in equations
    assert drawing.startswith("<svg>A step</svg><p>One step of an RNN")
    assert output == "<pre>it_writes of 7</pre>"
    assert 'id="interactive-rnn_step"' in interactive
    assert exercise.startswith("<h2>Exercise</h2><pre>In minichar/engine/lstm.py")


def test_every_lesson_is_on_the_page_for_lecturers(docs_pages):
    needs = docs_pages("lecturers").NEEDS
    assert [0, *needs] == [int(path.stem[5:7]) for path in sorted((ROOT / "tests" / "lessons").glob("*.py"))]


def test_index_lists_chapters_in_order(pages, tmp_path, monkeypatch):
    for number in ("10", "02"):
        marker = "[figure: gru]\n\nMore" if number == "10" else "More"
        (tmp_path / f"test_{number}_step.py").write_text(LESSON.replace("More", marker))
    (tmp_path / "gru.svg").write_text('<svg role="img" aria-label="A GRU"><metadata>by</metadata></svg>')
    monkeypatch.setattr(pages[1], "FOLDER", tmp_path)
    folder = tmp_path / "course"
    folder.mkdir()
    pages[1].write_course(tmp_path, PACKAGE, folder)
    index = (folder / "index.md").read_text(encoding="utf-8")
    assert index.endswith("\n\n02_step\n10_step\nlecturers\n```\n")
    first, last = re.findall(
        '<a href="(.*?)">(.*?)<b>7. A step</b> <span>Forward and .*</span> <small>(.*?)</', index
    )
    assert first == ("02_step.html", "", "5 minutes")
    assert last == ("10_step.html", '<svg aria-hidden="true"> </svg>', "5 minutes")
    assert {path.name for path in folder.iterdir()} == {
        "index.md",
        "lecturers.md",
        "02_step.md",
        "10_step.md",
    }


def test_the_old_address_of_a_chapter_leads_to_the_chapter(docs_pages, tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("latex2mathml")
    (tmp_path / "course").mkdir()
    docs_pages("extension").redirect_chapters(SimpleNamespace(outdir=tmp_path), None)
    moved = docs_pages("course").MOVED
    chapters = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "lessons").glob("test_*.py")}
    assert {*moved.values()} <= chapters
    assert chapters.isdisjoint(moved)
    for old, new in moved.items():
        assert f'content="0; url={new}.html"' in (tmp_path / "course" / f"{old}.html").read_text("utf-8")


def test_command_pages_contain_every_option(pages, tmp_path):
    pages[0].write_commands(tmp_path)
    for name in COMMANDS:
        page = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert "```sh\n" + "\n".join(EXAMPLES[name]) + "\n```" in page.partition("\n## ")[0]
        command = main.get_command(click.Context(main), name)
        commands = [command, *getattr(command, "commands", {}).values()]
        headings = re.findall(r"^## .*", page, re.MULTILINE)
        assert len(headings) == len(set(headings))
        arguments = [o for c in commands for o in c.params if isinstance(o, DescribedArgument)]
        assert all(pages[0].escaped(argument.description) in page for argument in arguments)
        for option in [o for c in commands for o in c.params if isinstance(o, click.Option)]:
            assert re.search(rf"^`.*{option.opts[-1]}\b.*`\n: ", page, re.MULTILINE), (name, option.name)


def test_markup_in_help_text_is_escaped(pages):
    escaped = pages[0].escaped
    assert escaped("a*b [x] <y> $z") == r"a\*b \[x] \<y> \$z"
    assert escaped("give --data or `minichar --help`") == "give `--data` or `minichar --help`"


def test_without_npm_the_site_has_the_fonts_of_the_system(docs_pages, tmp_path, monkeypatch):
    fonts = docs_pages("fonts")
    monkeypatch.setattr(fonts.shutil, "which", lambda name: None)
    assert not fonts.write_fonts(tmp_path / "fonts")
    monkeypatch.setattr(fonts.shutil, "which", lambda name: "false")  # like npm without a network
    assert not fonts.write_fonts(tmp_path / "fonts")
    assert not (tmp_path / "fonts").exists()


def archive(folder, package, names):
    """Write an npm archive, and return its path and its SHA-512."""
    path = folder / f"{package.rpartition('/')[2]}.tgz"
    with tarfile.open(path, "w:gz") as files:
        for name in names:
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(name)
            files.addfile(info, io.BytesIO(name.encode()))
    return path, base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def test_fonts_are_taken_from_the_pinned_packages_with_their_licences(docs_pages, tmp_path, monkeypatch):
    fonts = docs_pages("fonts")
    archives = {}
    for package in fonts.PACKAGES:
        names = [f"files/{name}.woff2" for name, face in fonts.FACES.items() if face[0] == package]
        path, digest = archive(tmp_path, package, ["LICENSE", *names])
        archives[package] = path
        monkeypatch.setitem(fonts.PACKAGES, package, ("5.3.0", digest))

    def run(command, **options):
        (path,) = (path for package, path in archives.items() if command[-1] == f"{package}@5.3.0")
        shutil.copy(path, command[command.index("--pack-destination") + 1])
        return subprocess.CompletedProcess(command, 0, f"{path.name}\n")

    monkeypatch.setattr(fonts.shutil, "which", lambda name: name)
    monkeypatch.setattr(fonts.subprocess, "run", run)
    folder = tmp_path / "fonts"
    assert fonts.write_fonts(folder)
    rules = (folder / "fonts.css").read_text(encoding="utf-8")
    files = {path.name for path in folder.iterdir()}
    assert set(re.findall(r'url\("(.*?)"\)', rules)) == {name for name in files if name.endswith("woff2")}
    assert {"LICENSE-stix-two-text", "LICENSE-stix-two-math"} <= files
    shutil.rmtree(folder)
    monkeypatch.setitem(fonts.PACKAGES, fonts.TEXT, ("5.3.0", "another"))
    with pytest.raises(ValueError, match="does not have the expected SHA-512"):
        fonts.write_fonts(folder)
    assert not folder.exists()


def test_code_is_legible_in_both_schemes(docs_pages):
    """The contrast of every colour is at least 4.5 to 1, as computed by the definition of WCAG."""
    pytest.importorskip("pygments")
    colours = docs_pages("code_colours")

    def luminance(colour):
        levels = np.array([int(colour[k : k + 2], 16) for k in (0, 2, 4)]) / 255
        return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    for style, brightest in ((colours.Light, 0.9), (colours.Dark, 0.0)):
        background = luminance(style.background_color.removeprefix("#"))
        assert abs(background - brightest) < 0.1
        found = {rule["color"] for _, rule in style if rule["color"]}
        assert len(found) > 5
        for colour in found:
            dark, light = sorted([luminance(colour), background])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def test_measurements_are_linked_in_the_repository(docs_pages):
    pytest.importorskip("sphinx")
    pytest.importorskip("latex2mathml")
    source = ["[a](measured/a.md#b), [b](../measured/x/b.csv), ![c](measured/c.svg), [d](design.md)"]
    docs_pages("extension").link_measurements(None, "page", source)
    repository = "https://github.com/minichar/minichar/blob/main/docs/measured"
    assert source == [
        f"[a]({repository}/a.md#b), [b]({repository}/x/b.csv), ![c](measured/c.svg), [d](design.md)"
    ]


@pytest.fixture
def figures(monkeypatch, tmp_path):
    """The module ``docs/figures``, which draws in ``tmp_path/figures`` for the duration of the test."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    module = importlib.import_module("figures")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "figures")
    (tmp_path / "figures").mkdir()
    (tmp_path / "measured" / "trials").mkdir(parents=True)
    yield module
    for name in [name for name in sys.modules if name.split(".")[0] == "figures"]:
        del sys.modules[name]


def test_every_picture_is_drawn(figures):
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "howto").glob("*.md")]
    pictures = {name for page in pages for name in re.findall(r"{picture} (\w+)", page.read_text("utf-8"))}
    assert "quality" in pictures
    assert pictures <= {*figures.SCRIPTS}


def test_figures_are_redrawn_if_their_data_is_newer(figures, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "draw_all", lambda: drawn.append(1))
    data = tmp_path / "measured" / "trials" / "weights.csv"
    data.touch()
    (tmp_path / "figures" / "bench.svg").touch()
    future = time.time() + 1000
    os.utime(tmp_path / "figures" / "bench.svg", (future, future))
    figures.draw_if_stale()
    assert not drawn
    os.utime(data, (future + 1, future + 1))
    figures.draw_if_stale()
    assert drawn


def test_the_picture_of_the_benchmark_shows_each_row_of_its_data(figures, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    draw = importlib.import_module("figures.draw")
    monkeypatch.setattr(draw, "FOLDER", tmp_path)
    bench = importlib.import_module("figures.bench")
    bench.main()
    svg = (tmp_path / "bench.svg").read_text(encoding="utf-8")
    with bench.CSV.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert f">{row['benchmark']}</text>" in svg
        assert f">{int(row['characters_per_second']):,}</text>" in svg
    drawn, ratios = [], []
    for name, (colour, _) in bench.RATIOS.items():
        *marks, _ = re.findall(f'x="([0-9.]+)" y="[0-9.]+" style="fill: {colour};', svg)  # one in the legend
        drawn += map(float, marks)
        ratios += [float(row[name]) for row in rows if row[name]]
    assert len(drawn) == len(ratios)
    assert np.corrcoef(drawn, np.log(ratios))[0, 1] > 0.999999
    assert draw.INK not in svg


def test_the_numbers_in_a_drawing_are_those_in_its_lesson(figures, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(importlib.import_module("figures.draw"), "FOLDER", tmp_path)
    importlib.import_module("figures.through_time").main()
    svg = (tmp_path / "through_time.svg").read_text(encoding="utf-8")
    numbers = re.findall(r"([\d.]+)</t", svg)
    (lesson,) = [read_lesson(path) for path in LESSONS if "through_time" in path.stem]
    assert len(numbers) > 10
    assert {*numbers} <= {*re.findall(r"[\d.]*\d", lesson.story)}


def test_the_api_reference_shows_the_arguments_of_train_but_not_all_options(docs_pages):
    shown = docs_pages("api").public("train")
    assert ".. autofunction:: minichar.train(data=None, *, device='cpu', progress=True, " in shown
    assert shown.splitlines()[0].endswith(", chunk_kernel=False, **options)")
    assert "rnn_size" not in shown


def test_each_option_is_indexed_in_the_guide_that_mentions_it_most(docs_pages, tmp_path):
    pages = {
        "a": "`--one` and `--two`, `--two`",
        "b": "`--one`, `--one`: --three-x",
        "coming-from": "--two " * 9,
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.md").write_text(text, encoding="utf-8")
    found = docs_pages("terms").options_of_guides(tmp_path)
    assert found == {"a": ["--two"], "b": ["--one", "--three-x"]}
