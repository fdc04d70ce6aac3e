"""Test the generated pages. ``.ci/run`` builds the whole site with warnings treated as errors."""

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import click
import figures
import numpy as np
import pytest
from html_page import Page
from pages import api, commands, course, equations, fonts, latex, lecturers, live, notebooks, slides, terms

import minichar
from minichar.cli import COMMANDS, main
from minichar.cli.course import get_lesson, read_lesson
from minichar.cli.examples import EXAMPLES
from minichar.cli.options import DescribedArgument
from minichar.errors import MinicharError
from minichar.text.datasets import dataset_path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minichar"
MEASURED = ROOT / "docs" / "measured"
LESSONS = sorted((ROOT / "tests" / "lessons").glob("test_*.py"))
LESSON = '''"""Lesson 7. A step: forward and dW backward.

Some words. An introduction with `code`:

    y = w x          forward
    dw = dy x        backward

[figure: gru.svg]

More text (lesson 8, arXiv:1506.02078)

[figure: rnn_step]

[output: it_writes]

is in lesson 9.
"""

import pytest

from minichar.engine import lstm
from minichar.engine.linear import Linear

x = 2.0


# A comment.
def forward(w):
    return w * x


def it_writes():
    return "What it writes"


@pytest.fixture
def one():
    return []


@pytest.fixture
def two(one):
    one.append(0)
    return one


def test_the_slope_of_an_rnn_is_x():
    assert forward(1.5) - forward(0.5) == x
    assert lstm.backward


@pytest.mark.parametrize("n", [1, 2])
def test_fixtures(n, two, one):
    assert two is one
    calls.append((n, two))


def test_doc():
    assert "dw = dy x" in __doc__


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


@pytest.fixture
def lesson(tmp_path):
    """Return the path of a lesson, which another one follows."""
    path = tmp_path / "test_07_rnn_step.py"
    path.write_text(LESSON)
    (tmp_path / "test_08_through_time.py").touch()
    return path


def name_of(lesson, name):
    """Return a text in place of the output of a lesson's function."""
    return f"{name} of {lesson.number}"


def test_a_lesson_becomes_a_chapter(lesson):
    chapter = course.chapter(lesson, PACKAGE, name_of)
    in_order = [
        "# 7. A step\n\n```{index} ! RNN, ! hidden state\n```\n\n*Forward and ",
        f"{DW} backward.*\n\nSome words. An introduction",
        "<td class=comment colspan=1>backward</td></tr>\n</table>\n</div>\n\n```{picture} gru\nOne step of a",
        "```\n\nMore text ([lesson 8](08_through_time.md), [arXiv:1506.02078](https://arxiv.org/abs/1506.02078))\n\n",
        "```{interactive} rnn_step\nDrag ",
        "```\n\n```{code-block} text\n:class: written\n\nit_writes of 7\n```\n\nis in lesson 9.\n\n## Exer",
        "\n\nIn `minichar/engine/lstm.py`, in `__call__`, change\n\n    return w * x\n\nto",
        f"<summary>The answer</summary>\n\n`test_the_slope` fails: {DW} is 0.\n\n</details>",
        "## What the engine does\n\n`minichar/engine/lstm.py`:\n\n```py\ndef backward(",
        "\n\nEach box is a test in `tests/lessons/test_07_rnn_step.py`, and its title says what it tests",
        "The tests of the numbers on this page are not shown: `test_doc`.\n",
        "<summary>Definitions of <code>forward</code>, <code>it_writes</code>",
        "import Linear\n\nx = 2.0\n\n# A comment.\ndef forward(w):\n",
        "<summary>The slope of an RNN is x</summary>\n\n```py\ndef test_the_slope_of_an_rnn_is_x():\n",
        "<summary><code>minichar/engine/lstm.py</code></summary>",
        "<summary><code>minichar/engine/linear.py</code></summary>",
    ]
    places = [chapter.find(piece) for piece in in_order]
    assert -1 not in places
    assert places == sorted(places)
    assert not re.search("EXERCISE|ANSWER|def test_doc", chapter)
    assert "def forward(xp" not in chapter[: chapter.index("## Source files")]  # not used in the lesson
    assert (PACKAGE / "engine" / "linear.py").read_text(encoding="utf-8").strip() in chapter


def test_an_unknown_figure_is_an_error_that_lists_the_figures(lesson):
    lesson.write_text(LESSON.replace("gru.svg", "nothing"))
    message = r"^test_07_rnn_step.py: there is no figure 'nothing': .*, lstm,"
    with pytest.raises(ValueError, match=message):
        course.chapter(lesson, PACKAGE, name_of)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem.removeprefix("test_"))
def test_a_chapter_shows_what_its_exercise_changes_and_which_tests_fail(path):
    chapter, lesson = course.chapter(path, PACKAGE, name_of), read_lesson(path)
    shown, tests = chapter[: chapter.index("## Source files")].split("## Tests")
    if lesson.exercise.startswith("In minichar/"):
        line = re.search("^ {4}(.*)", lesson.exercise, re.MULTILINE)[1]
        assert shown[shown.index("## What the engine does") :].count(line) == 1
    for name in re.findall(r"test_\w+", lesson.answer):
        assert f"def {name}(" in tests or f"`{name}`" in tests


def test_every_chapter_has_a_figure_and_terms_and_every_drawing_is_in_a_chapter():
    drawings = set()
    for path in LESSONS:
        chapter = course.chapter(path, PACKAGE, name_of)
        assert "\n\n```{interactive} " in chapter, path.name
        assert "\n\n```{index} ! " in chapter, path.name
        drawings |= {*re.findall(r"^```{picture} (\w+)$", chapter, re.MULTILINE)}
    assert drawings == {*course.DRAWINGS}


def test_the_drawing_on_a_card_has_neither_words_nor_a_legend():
    legend = '<g id="a-legend_1">\n   <g id="a-line2d_9">\n    <path d="M 1"/>\n   </g>\n'
    words = '   <text x="1">n</text>\n  </g>\n'
    svg = f'<svg role="img" aria-label="A">\n  {legend}{words}  <g id="a-axis">\n  </g>\n</svg>'
    assert course.without_label(svg) == '<svg aria-hidden="true"> <g id="a-axis"> </g> </svg>'


def test_the_course_says_which_lessons_have_no_functions_to_fill_in(tmp_path, monkeypatch):
    monkeypatch.setattr(course, "OUTPUTS", tmp_path)
    for name in ("09_truncation", "10_vanishing_and_exploding", "18_it_writes"):
        path = ROOT / "tests" / "lessons" / f"test_{name}.py"
        source = re.sub(r"^\[output: .*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (tmp_path / path.name).write_text(source, encoding="utf-8")
    course.write_course(tmp_path, PACKAGE, tmp_path)
    assert " Only lessons 9 and 18 have no functions" in " ".join((tmp_path / "index.md").read_text().split())


def test_a_lesson_becomes_a_notebook_that_runs_its_tests(lesson):
    script = notebooks.script(lesson)
    # The text in three parts, the exercise and its answer, and two tests; the test of the text is left out.
    assert script.count("# %% [markdown]\n") == 7
    assert script.count("\n# # 7. A step\n") == 1
    assert "$=dy\\,x$" in script
    assert not re.search("__doc__|<math|@pytest|# EXERCISE|# \\[figure", script)
    cells = script.split("# %%")
    (change,) = [cell for cell in cells if "source.replace('return w * x', 'return w')" in cell]
    cells.remove(change)  # it would copy the package
    ran: dict = {"calls": []}
    exec("# %%".join(cells), ran)
    assert ran["calls"] == [(1, [0]), (2, [0])]  # new fixtures for each value
    with pytest.raises(AssertionError):
        exec("# %%".join(cells).replace("return w * x", "return w"), {"calls": []})


def test_the_exercise_in_a_notebook_shows_which_tests_fail(tmp_path, monkeypatch, capsys):
    """Lesson 7 trains a network for its text, which diverges after the change. The tests run without it."""
    path = next(path for path in LESSONS if path.name.startswith("test_07"))
    shutil.copytree(path.parent, tmp_path / "exercise" / "tests" / "lessons")  # where no wheel is installed
    monkeypatch.chdir(tmp_path)
    (cell,) = [cell for cell in notebooks.script(path).split("# %%") if "exercise_run" in cell]
    exec(cell, {})
    failed = {*re.findall(r"^FAILED .*::(\w+)", capsys.readouterr().out, re.MULTILINE)}
    assert failed == {*re.findall(r"\btest_\w+", read_lesson(path).answer)}


@pytest.mark.parametrize("missing", [[], ["pytest"], ["minichar"], ["minichar", "pytest"]])
def test_a_notebook_installs_only_what_is_missing(missing, monkeypatch):
    commands = []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in missing else "found")
    monkeypatch.setattr("subprocess.run", lambda words, check: commands.append(words))
    exec(notebooks.SETUP, {})
    packages = [f"git+https://github.com/minichar/{name}" if name == "minichar" else name for name in missing]
    assert commands == [[sys.executable, "-m", "pip", "install", "-q", *packages]] * bool(missing)


def test_a_notebook_says_where_to_change_a_function_of_the_lesson():
    for path in LESSONS:
        in_the_package = read_lesson(path).exercise.startswith("In minichar/")
        assert (notebooks.HERE.strip() in notebooks.script(path)) == (not in_the_package), path.name


def test_every_formula_in_a_notebook_is_latex():
    converter = pytest.importorskip("latex2mathml.converter")
    for path in LESSONS:
        story = latex.with_latex(equations.typeset(read_lesson(path).story))
        assert not re.search('<math|class="together', story)
        for formula in re.findall(r"\$([^$]*)\$", story):
            assert formula.isascii(), (path.name, formula)
            converter.convert(formula)


def test_slides_contain_the_equations_figures_and_outputs_of_a_lesson(lesson, monkeypatch):
    rule = "div.equations tr.backward td { color: orange; }\n"
    for name, content in {
        "figures/gru.svg": "<svg>A step</svg>",
        "static/interactive.css": ".stage {}\n",
        "static/minichar.css": f"p {{ margin: 0; }}\n{rule}",
    }.items():
        path = lesson.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(slides, "DOCS", lesson.parent)
    deck = slides.deck(lesson, name_of)
    found = re.findall("<section>\n(.*?)\n</section>", deck, re.DOTALL)
    assert re.search(r"<main>\n<section>.*</section>\n</main>", deck, re.DOTALL)
    title, equations, drawing, interactive, output, exercise = found
    assert title.startswith("<h1>7. A step</h1><p>forward and ")
    assert equations.startswith("<p>An introduction with <code>code</code>")
    assert f".stage {{}}\n{rule}" in deck
    assert "margin: 0; }\ndiv" not in deck
    assert "<td class=left><math" in equations
    assert drawing.startswith("<svg>A step</svg><p>One step of a GRU")
    assert 'id="interactive-rnn_step"' in interactive
    assert output == "<pre>it_writes of 7</pre>"
    assert exercise.startswith("<h2>Exercise</h2><pre>In minichar/engine/lstm.py")
    assert slides.marked("*a*, `b * c` and 2 * 3 < 7") == "<em>a</em>, <code>b * c</code> and 2 * 3 &lt; 7"


def test_every_lesson_is_on_the_page_for_lecturers():
    assert [0, *lecturers.NEEDS] == [int(path.stem[5:7]) for path in LESSONS]


def test_index_lists_chapters_in_order(lesson, tmp_path, monkeypatch):
    (tmp_path / "test_08_through_time.py").write_text(LESSON.replace("gru.svg", "rnn.svg"))
    (tmp_path / "gru.svg").write_text('<svg role="img" aria-label="A GRU"><metadata>by</metadata></svg>')
    monkeypatch.setattr(course, "FOLDER", tmp_path)
    monkeypatch.setattr(course, "kept_output", name_of)
    folder = tmp_path / "course"
    folder.mkdir()
    course.write_course(tmp_path, PACKAGE, folder)
    index = (folder / "index.md").read_text(encoding="utf-8")
    assert index.endswith("\n\n07_rnn_step\n08_through_time\nlecturers\n```\n")
    card = '<a href="(.*?)">(.*?)<b>7. A step</b> <span>Forward and .*</span> <small>5 minutes</'
    assert re.findall(card, index) == [
        ("07_rnn_step.html", '<svg aria-hidden="true"> </svg>'),
        ("08_through_time.html", ""),
    ]
    assert {path.stem for path in folder.iterdir()} == {
        "index",
        "lecturers",
        "07_rnn_step",
        "08_through_time",
    }


def test_command_pages_contain_every_option(tmp_path):
    commands.write_commands(tmp_path)
    for name in COMMANDS:
        page = (tmp_path / f"{name}.md").read_text(encoding="utf-8")
        assert "```sh\n" + "\n".join(EXAMPLES[name]) + "\n```" in page.partition("\n## ")[0]
        command = main.get_command(click.Context(main), name)
        all_of_it = [command, *getattr(command, "commands", {}).values()]
        headings = re.findall(r"^## .*", page, re.MULTILINE)
        assert len(headings) == len(set(headings))
        arguments = [o for c in all_of_it for o in c.params if isinstance(o, DescribedArgument)]
        assert all(commands.escaped(argument.description) in page for argument in arguments)
        for option in [o for c in all_of_it for o in c.params if isinstance(o, click.Option)]:
            assert re.search(rf"^`.*{option.opts[-1]}\b.*`\n: ", page, re.MULTILINE), (name, option.name)
    train = (tmp_path / "train.md").read_text(encoding="utf-8")
    assert "`--reset-on STR`\n: ```{index} ! --reset-on\n  ```\n\n  String that separates" in train


def test_markup_in_help_text_is_escaped():
    assert commands.escaped("a*b [x] <y> $z") == r"a\*b \[x] \<y> \$z"
    assert commands.escaped("give --data or `minichar --help`") == "give `--data` or `minichar --help`"


def test_fonts_are_installed_once_and_without_npm_the_site_has_those_of_the_system(tmp_path, monkeypatch):
    calls = []

    def install(command, cwd, **options):
        calls.append(command[1])
        (package := cwd / "node_modules" / "font").mkdir(parents=True, exist_ok=True)
        if len(calls) == 1:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        (package / "font.woff2").touch()

    monkeypatch.setattr(fonts, "FOLDER", tmp_path)
    monkeypatch.setattr(fonts.shutil, "which", lambda name: None)
    assert fonts.style_sheets() == []
    monkeypatch.setattr(fonts.shutil, "which", lambda name: "false")  # like npm without a network
    assert fonts.style_sheets() == []
    monkeypatch.setattr(fonts.subprocess, "run", install)
    assert fonts.style_sheets() == [], "npm did not finish"
    assert fonts.style_sheets() == fonts.style_sheets() == ["fonts/fonts.css"]
    assert calls == ["ci", "ci"]


def test_models_are_trained_on_texts_that_can_be_downloaded_and_kept(tmp_path, monkeypatch):
    pages, trained = tmp_path / "extra", []
    poems = [f"{number}\n山中一夜雨" for number in range(60_000)]

    def downloaded(name, folder):
        path = dataset_path(name, folder)
        path.parent.mkdir(parents=True)
        path.write_text("\n\n".join(poems), encoding="utf-8")
        return path

    def without_network(name, folder):
        raise MinicharError("cannot download")

    def train(path, **options):
        trained.append(path.read_text(encoding="utf-8").split("\n\n"))
        return really_train(path, **options, rnn_size=2, num_layers=1, max_epochs=0.001)

    really_train = minichar.train
    monkeypatch.setattr(minichar, "train", train)
    monkeypatch.setattr(live, "fetch", without_network)
    assert not live.write_downloaded(pages)
    assert not trained
    monkeypatch.setattr(live, "fetch", downloaded)
    assert live.write_downloaded(pages)
    monkeypatch.setattr(live, "fetch", without_network)
    assert live.write_downloaded(pages)
    assert trained == [poems[::3], poems[::3]]  # 260,000 of 770,000 characters
    titles = {path.name: Page(path).texts["title"] for path in pages.iterdir()}
    assert titles == {
        "model-shakespeare.html": ["Shakespeare · minichar"],
        "model-tang.html": ["唐诗 · minichar"],
    }
    os.utime(tmp_path / "tang.npz", (0, 0))  # older than the script that trains it
    monkeypatch.setattr(live, "fetch", lambda name, folder: dataset_path(name, folder))
    assert live.write_downloaded(pages)
    assert len(trained) == 3


def test_figures_are_redrawn_if_their_data_is_newer(tmp_path, monkeypatch):
    drawn, folder = [], tmp_path / "figures"
    monkeypatch.setattr(figures, "FOLDER", folder)
    monkeypatch.setattr(figures, "draw_all", lambda: drawn.append(1))
    data, drawing = tmp_path / "measured" / "trials" / "weights.csv", folder / "bench.svg"
    for path in (data, drawing):
        path.parent.mkdir(parents=True)
        path.touch()
    future = time.time() + 1000
    os.utime(drawing, (future, future))
    figures.draw_if_stale()
    assert not drawn
    os.utime(data, (future + 1, future + 1))
    figures.draw_if_stale()
    assert drawn


@pytest.fixture
def figure():
    """Return a function that imports the module of a figure."""
    pytest.importorskip("matplotlib")
    return lambda name: import_module(f"figures.{name}")


@pytest.fixture
def svg(figure, tmp_path, monkeypatch):
    """Return a function that draws a figure, and returns the drawing."""
    monkeypatch.setattr(figure("draw"), "FOLDER", tmp_path)

    def svg(name):
        figure(name)
        figure("draw").DRAWINGS[name]()
        return (tmp_path / f"{name}.svg").read_text(encoding="utf-8")

    return svg


@pytest.fixture
def ax(figure):
    return import_module("matplotlib.figure").Figure().subplots()


def test_the_picture_of_the_benchmark_shows_each_row_of_its_data(svg, figure):
    drawing = svg("bench")
    rows = csv.DictReader((MEASURED / "bench.csv").read_text(encoding="utf-8").splitlines())
    for row in rows:
        assert f">{row['benchmark']}</text>" in drawing
        assert f">{int(row['characters_per_second']):,}</text>" in drawing
    assert figure("draw").INK not in drawing


def test_the_picture_of_the_regret_shows_each_trial_with_the_first_seed(figure, ax):
    regret = figure("regret")
    regret.regret(ax)
    shown = {(y, round(x, 4)) for line in ax.lines[1:] for x, y in zip(*line.get_data(), strict=True)}
    lines = csv.reader((MEASURED / "trials" / "regret.csv").read_text(encoding="utf-8").splitlines())
    rows = [row for row in lines if len(row) == 14 and "seed" not in row[3]][1:]
    losses = [(f"{row[0]}, {int(row[1]):,}", row[3], float(row[13])) for row in rows]
    plans = {name: loss for name, change, loss in losses if change == "plan"}
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == [*plans]
    assert shown == {(names.index(name), round(loss - plans[name], 4)) for name, _, loss in losses}
    assert all(regret.LIMITS[0] < x < regret.LIMITS[1] for _, x in shown)


def test_the_caption_of_the_ravine_has_its_learning_rates(figure):
    rates = [figure("ravine").RATE, figure("ravine").RMSPROP_RATE]
    assert re.findall(r"η = ([\d.]+\d)", course.DRAWINGS["ravine"]) == [*map(str, rates)]


def test_the_numbers_in_a_drawing_are_those_in_its_lesson(svg):
    numbers = re.findall(r"([\d.]+)</t", svg("through_time"))
    assert len(numbers) > 10
    assert {*numbers} <= {*re.findall(r"[\d.]*\d", get_lesson("8").story)}


def test_the_drawing_of_vanishing_gradients_plots_the_table_in_its_lesson(figure, ax):
    figure("vanishing").vanishing(ax)
    rows = dict(re.findall(r"^ {4}(\S.*?) {2,}(\d\.\d.*e.*)$", get_lesson("12").story, re.MULTILINE))
    assert [*rows] == [line.get_label() for line in ax.lines]
    for line, row in zip(ax.lines, rows.values(), strict=True):
        np.testing.assert_allclose(line.get_ydata()[[1, 10, 50, 100]], [*map(float, row.split())], rtol=0.06)


def test_the_drawing_of_overfitting_plots_the_table_in_its_lesson(figure, ax):
    figure("overfitting").overfitting(ax)
    story = get_lesson("18").story
    table = re.findall(r"^ {4}(\d+) {2,}(\d\.\d+) +(\d\.\d+)$", story, re.MULTILINE)
    lines = {line.get_label(): line.get_data() for line in ax.lines}
    np.testing.assert_array_equal([*lines["training"], lines["new text"][1]], np.array(table, float).T)
    assert len(ax.texts) == 2
    assert all(text.get_text().split()[-1] in story for text in ax.texts)


def test_a_directive_in_a_comment_is_shown_on_the_site():
    pytest.importorskip("sphinx")
    pytest.importorskip("latex2mathml")
    fence = "```{raw} html\n<p>\n```\n"
    source = [f"a\n\n<!-- b -->\n\n<!--{{only}} downloaded\nc\n\n{fence}-->\n\n<!--{{image}} d\n-->\ne\n"]
    import_module("pages.extension").show_hidden(None, "page", source)
    expected = f"````{{only}} downloaded\nc\n\n{fence}````\n\n````{{image}} d\n````\ne\n"
    assert source == [f"a\n\n<!-- b -->\n\n{expected}"]


def test_the_api_reference_shows_the_arguments_of_train_but_not_all_options():
    shown = api.public("train")
    assert ".. autofunction:: minichar.train(data=None, *, device='cpu', progress=True, " in shown
    assert shown.splitlines()[0].endswith(", chunk_kernel=False, **options)")
    assert "rnn_size" not in shown


def test_each_option_is_indexed_in_the_guide_that_mentions_it_most(tmp_path):
    pages = {
        "a": "`--one` and `--two`, `--two`",
        "b": "`--one`, `--one`: --three-x",
        "coming-from": "--two " * 9,
    }
    for name, text in pages.items():
        (tmp_path / f"{name}.md").write_text(text, encoding="utf-8")
    found = terms.options_of_guides(tmp_path)
    assert found == {"a": ["--two"], "b": ["--one", "--three-x"]}


def test_three_units_of_lesson_11_remember_a_bracket(figure):
    """Test what the lesson says about its figure."""
    text, remembers, (_, f, i) = figure("bracket").measure()
    assert (np.count_nonzero(remembers > 0.9), len(remembers)) == (3, 4)
    unit = remembers.argmax()
    brackets = np.array([character in "()" for character in text])
    assert i[brackets, unit].mean() > 0.5 > 0.1 > i[~brackets, unit].mean()
    closing, letters = [character == ")" for character in text], f[~brackets, unit]
    assert 0.9 < letters.mean() < 1
    assert f[closing, unit].mean() > 0.3
    assert letters.mean() ** 30 == pytest.approx(0.5, abs=0.1)
    words = " ".join(get_lesson("11").story.split())
    assert "trains an LSTM with four units" in words
    assert "in three of the units, c follows whether a bracket is open" in words
