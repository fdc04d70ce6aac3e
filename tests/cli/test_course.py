"""Test ``minichar lessons``, and the lessons' numbering, length, equations and exercises."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from itertools import pairwise
from math import log
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from toys import ONE_THREAD

from minichar import ngram_loss
from minichar.cli import course, lessons
from minichar.cli.blank import Grade, compared, difference, parts, returned, write_blank
from minichar.cli.course import MARKER, definitions, find_lessons, get_lesson, output
from minichar.cli.lessons import print_story
from minichar.engine import gru, gru_reset_before, lstm, rnn
from minichar.errors import MinicharError
from minichar.terminal import Terminal
from minichar.text.pydocs import pydocs_text

ROOT = Path(__file__).parents[2]
LESSONS = find_lessons()
FILLED_IN = [lesson for lesson in LESSONS if lesson.number not in (9, 18)]
BLOCK = re.compile(r"^(?: {4}.*\n)+", re.MULTILINE)
WITHOUT_PLUGINS = ONE_THREAD | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # with which pytest starts faster


def edited(source, old, new):
    """Replace the lines `old` with `new`, as the exercise instructs."""
    lines = source.splitlines()
    # If the exercise edits the lesson file itself, its EXERCISE string also contains the old lines.
    code = lines.index('EXERCISE = """') if 'EXERCISE = """' in lines else len(lines)
    old, new = ([line.strip() for line in block.splitlines()] for block in (old, new))
    places = [i for i in range(code) if [line.strip() for line in lines[i : i + len(old)]] == old]
    assert len(places) == 1, f"{old} occurs {len(places)} times"
    start = places[0]
    indent = re.match(" *", lines[start])[0]
    lines[start : start + len(old)] = [indent + line for line in new]
    return "\n".join(lines) + "\n"


def equations(module):
    """Return the equations in a module's docstring, without trailing comments."""
    lines = [line.strip() for line in module.__doc__.splitlines() if " = " in line]
    return [re.split(" {3,}", line)[0] for line in lines]


def backward_lines(module):
    """Yield the assignments of a cell's backward pass, in the lessons' notation."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name.endswith("backward"):
            lines = [
                ast.get_source_segment(source, line) for line in node.body if isinstance(line, ast.Assign)
            ]
            yield from (line.replace("*", "∘").replace("1.0", "1") for line in lines if "cache" not in line)


@pytest.mark.parametrize(("number", "cell"), [(7, rnn), (11, lstm), (12, gru), (12, gru_reset_before)])
def test_cell_lessons_quote_the_equations_and_backward_pass_of_the_code(number, cell):
    story = re.sub(" +", " ", get_lesson(str(number)).story).replace("←", "=")
    backward = list(backward_lines(cell))
    assert equations(cell)
    assert backward
    assert [line for line in equations(cell) + backward if line not in story] == []


def test_lessons_are_numbered_and_fit_a_terminal_and_their_markers_name_functions():
    assert [lesson.number for lesson in LESSONS] == list(range(len(LESSONS)))
    for lesson in LESSONS:
        assert lesson.path.name.startswith(f"test_{lesson.number:02}_")
        source = lesson.path.read_text(encoding="utf-8")
        assert source.count("\n") <= 340, lesson.title
        assert max(map(len, lesson.story.splitlines())) <= 100, lesson.title
        # A lesson is read in a terminal and on the site.
        assert not re.search(r"\bsite\b", f"{lesson.story} {lesson.exercise} {lesson.answer}")
        assert len(f"{lesson.title}  {lesson.summary}") <= 100
        marked = re.findall(r"\[output: (\w+)\]", lesson.story)
        assert [name for kind, name in MARKER.findall(lesson.story) if kind == "output"] == marked
        assert all(f"\ndef {name}():\n" in source for name in marked)


def failing_tests(lesson, directory):
    """Do the exercise in a copy of the project, and return the names of the tests that fail."""
    for folder in ("minichar", "tests/lessons"):
        shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = directory / re.match(r"In (\S+\.py)", lesson.exercise)[1]
    old, new = BLOCK.findall(lesson.exercise)
    path.write_text(edited(path.read_text(encoding="utf-8"), old, new), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "minichar", "lessons", str(lesson.number)],
        cwd=directory,
        env=WITHOUT_PLUGINS | {"PYTHONPATH": str(directory)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return set(re.findall(r"^FAILED .*::(\w+)", done.stdout, re.MULTILINE))


@pytest.mark.skipif("CI" not in os.environ, reason="takes 20 seconds of processor time: set CI=true")
def test_exercises_break_exactly_the_tests_named_in_the_answers(tmp_path):
    """Run the lessons in parallel because starting Python takes most of the time."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        failed = pool.map(lambda lesson: failing_tests(lesson, tmp_path / str(lesson.number)), LESSONS)
        for lesson, names in zip(LESSONS, failed, strict=True):
            assert names == set(re.findall(r"\btest_\w+", lesson.answer)), lesson.title


@pytest.mark.skipif("CI" not in os.environ, reason="trains for 20 seconds of processor time: set CI=true")
def test_from_lesson_to_lesson_the_machine_writes_better(tmp_path, monkeypatch):
    """Compare losses on the last tenth of the text. A unit of the last machine knows quotes."""
    monkeypatch.chdir(tmp_path)
    text = pydocs_text()
    counted, new = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    bigram, best = (ngram_loss(counted, new, n=n) for n in (2, 5))
    last = definitions(get_lesson("18").path)
    machines = [definitions(get_lesson(number).path)["machine"]() for number in ("7", "11", "15")]
    machines.append(last["large"]()[0])
    rnn, lstm, sampled, large = (machine.evaluate(new).loss for machine in machines)
    assert bigram - 0.1 > rnn > lstm + 0.1 > best + 0.2
    assert best > large
    assert lstm - 0.05 < sampled < rnn - 0.1
    losses_of = {
        "0": (even := log(len({*text})), bigram, best),
        "7": (rnn, bigram),
        "11": (lstm, rnn, best),
        "15": (sampled, lstm),
        "18": (even, bigram, rnn, lstm, best, large),
    }
    for number, losses in losses_of.items():
        shown = np.array(re.findall(r"\b\d\.\d\d\b", get_lesson(number).story), float)
        assert all(abs(shown - loss).min() < 0.03 for loss in losses), number
    rows = re.findall(r"^ {4}[A-Za-z5].* (\d\.\d\d)$", get_lesson("18").story, re.MULTILINE)
    np.testing.assert_allclose(table := [*map(float, rows)], losses_of["18"], atol=0.03)
    assert table == sorted(table, reverse=True)
    assert 0.4 < last["quotes_unit"]()[2] < 0.95


def test_finds_lessons_installed_from_a_wheel(tmp_path, monkeypatch):
    files = []
    monkeypatch.setattr(course, "SOURCES", tmp_path / "nowhere")
    monkeypatch.setattr(metadata, "files", lambda name: files)
    with pytest.raises(MinicharError, match="the lessons are not installed: run `pip install"):
        find_lessons()
    (tmp_path / "share/minichar/lessons").mkdir(parents=True)
    for lesson in LESSONS:
        files.append(metadata.PackagePath("share/minichar/lessons", lesson.path.name))
        files[-1].dist = metadata.PathDistribution(tmp_path / "minichar.dist-info")
        shutil.copy(lesson.path, tmp_path / files[-1])
    assert [lesson.title for lesson in find_lessons()] == [lesson.title for lesson in LESSONS]


@pytest.mark.parametrize(
    ("name", "number"), [("07", 7), ("lstm", 11), ("GRU", 12), ("clipping", 10), ("chain rule", 1)]
)
def test_a_lesson_is_found_by_its_number_or_a_word_in_its_heading(name, number):
    assert get_lesson(name) == LESSONS[number]


# The command


def test_pytest_writes_its_colours_to_the_terminal_itself(tmp_path, monkeypatch):
    with open(tmp_path / "terminal", "w") as terminal:
        main = Mock(side_effect=lambda arguments: int(sys.stdout is not terminal))
        monkeypatch.setattr(course, "import_pytest", lambda: Mock(main=main))
        monkeypatch.setattr(sys, "stdout", Terminal(terminal))
        assert course.run_lesson(LESSONS[0]) == 0


def test_lists_the_lessons(cli):
    lines = cli("lessons").stdout.splitlines()
    assert re.fullmatch(r" 0  Guess the next letter +count, guess, .*", lines[0])
    assert [int(line[:2]) for line in lines] == list(range(len(LESSONS)))


def test_on_a_terminal_the_list_is_wrapped(on_a_terminal):
    shown, *_ = on_a_terminal("lessons")
    lines = shown.splitlines()
    assert len(lines) > len(LESSONS) + 5
    assert max(map(len, lines)) <= 80
    shown, *_ = on_a_terminal("lessons", columns=40)
    words = {word for each in LESSONS for word in f"{each.number} {each.title} {each.summary}".split()}
    assert {*shown.split()} <= words | {*["start", "with:", "minichar", "lessons", "0"]}


def test_prints_the_lesson_runs_it_and_prints_the_exercise(process):
    child = process("lessons", 3, env=WITHOUT_PLUGINS | {"PYTEST_ADDOPTS": "--collect-only"})
    stdout, stderr = child.communicate(timeout=600)
    assert child.returncode == 0, stdout + stderr
    story, results, exercise = re.split(r"=+ .* =+\n", stdout)
    assert story.startswith("Lesson 3. Tanh and sigmoid: two derivatives")
    assert len(re.findall(r"::test_\w+ PASSED$", results, re.MULTILINE)) >= 6
    assert exercise.strip().startswith("Exercise\n\nIn minichar/engine/functions.py, in sigmoid, change")
    assert exercise.endswith("To see the answer: minichar lessons 3 --answer\n")
    assert re.search(r"^lesson file  .*test_03_tanh_and_sigmoid\.py$", stderr, re.MULTILINE)
    assert re.search(r"^minichar/    .*minichar$", stderr, re.MULTILINE)


def test_outputs_are_printed_in_the_text_and_figures_are_left_out(capsys, monkeypatch):
    def write(lesson, name):
        """Check that the text before an output is printed before it is computed."""
        before = capsys.readouterr()
        assert before.out.endswith("Each continues the same prompt:\n\n")
        assert before.err == "running the_tables_write(), which may take minutes\n"
        print(before.out, end="")
        return output(lesson, name)

    monkeypatch.setattr(lessons, "output", write)
    print_story(get_lesson("0"), True)
    shown = capsys.readouterr().out
    first = shown.index("\n\n    n = 2: The value ")
    assert first < shown.index("\nPairs produce almost")
    assert not re.search(r"\[output|\[figure|\n\n\n", shown)
    assert max(map(len, shown[first:].splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("-- -1", 1, "there is no lesson '-1': choose one from 0 to 18; `minichar lessons` lists them"),
        ("''", 1, "there is no lesson '': choose one from 0 to 18"),
        ("derivative", 1, "multiple lessons match 'derivative': 2 (A gradient check), 3 (Tanh and "),
        ("--answer", 2, "--answer requires a lesson"),
        ("--blank", 2, "--blank requires a lesson"),
        ("5 --answer", 1, "answers are disabled: the environment variable MINICHAR_ANSWERS is 0"),
        ("9 --blank", 1, "lesson 9 has no functions to fill in"),
    ],
)
def test_user_errors(refused, monkeypatch, words, status, message):
    monkeypatch.setenv("MINICHAR_ANSWERS", "0")
    assert refused("lessons", *shlex.split(words), status=status).startswith(f"Error: {message}")


@pytest.mark.parametrize(("columns", "width"), [("44", 44), ("200", 100)])
def test_the_exercise_and_its_answer_are_wrapped_to_the_terminal(cli, monkeypatch, columns, width):
    """Equations are not wrapped, and the tests are not run."""
    monkeypatch.setenv("COLUMNS", columns)
    lesson, result = get_lesson("1"), cli("lessons", 1, "--answer")
    assert result.stdout.split() == f"Exercise {lesson.exercise} Answer {lesson.answer}".split()
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert "    da = dy * (1 - y * y)  # y = tanh(a)" in lines
    prose = [(line, following) for line, following in pairwise(lines) if line[:1].strip() and following]
    assert len(prose) > 5
    assert all(len(line) + 1 + len(following.split()[0]) > width for line, following in prose)


def test_a_change_that_stops_training_does_not_stop_the_lesson(capsys, monkeypatch):
    """The tests follow the text."""
    monkeypatch.setattr(lessons, "output", Mock(side_effect=MinicharError("training failed: loss nan")))
    print_story(get_lesson("7"), True)
    _, rest = capsys.readouterr().out.split("\n\n    Error: training failed: loss nan\n\n", 1)
    assert "This is noise, but better noise" in rest


def test_prints_the_lesson_without_pytest(cli, monkeypatch, home):
    """The one error comes last, and changes in a source tree are no problem yet."""
    monkeypatch.setattr(lessons, "find_spec", {"pytest": None}.get)
    monkeypatch.setitem(sys.modules, "pytest", None)
    (home / "minichar/engine").mkdir(parents=True)
    result = cli("lessons", 0, status=1)
    assert result.stdout.startswith("Lesson 0. Guess the next letter:")
    assert "Error" not in result.stdout
    assert "\n    (the_tables_write() is not run, because pytest is not installed)\n" in result.stdout
    assert result.stderr.startswith("Error: lessons need pytest (")
    assert "pip install -e '.[test]'" in result.stderr


EMPTY = "raise NotImplementedError('write this function')"


def blank(number, folder):
    """Return the file in which the functions of a lesson are to be filled in."""
    write_blank(get_lesson(number), folder / "blank.py")
    return (folder / "blank.py").read_text(encoding="utf-8")


def test_functions_to_fill_in_are_graded(tmp_path, process):
    """Run pytest in another process. Lesson 12 has a worked example, which is compared first."""
    source = blank("7", tmp_path)
    assert source.count("    raise NotImplementedError(") == 3
    assert "def test_" not in source
    for name, body in (
        ("rnn_forward", "h = xp.tanh(a[0]); return h, (h,)"),
        ("rnn_backward", "(h,) = cache; return ((0 * dh * (1 - h * h),),)"),
        ("step_backward", "(da,), = rnn_backward(np, dh, cache); return W[:, :-1].T @ da, da, da @ s.T"),
    ):
        start, definition, rest = source.partition(f"def {name}(")
        source = start + definition + rest.replace(EMPTY, body, 1)
    (tmp_path / "lesson_07.py").write_text(source, encoding="utf-8")
    (tmp_path / "lesson_12.py").write_text(blank("12", tmp_path).replace(EMPTY, "pass"), encoding="utf-8")
    options = {"cwd": tmp_path, "env": WITHOUT_PLUGINS}
    first, second = (process("lessons", number, "--blank", **options) for number in (7, 12))
    stdout, stderr = first.communicate(timeout=600)
    grades = {
        "rnn_forward": "correct",
        "rnn_backward": r"result 1 da, shape \(3, 2\)\n  yours .*\n  expected .*\n  difference .*\n"
        r"  called with xp = numpy, dh = .*, cache = \(.*,\)",
        "step_backward": r"your result dh_prev has shape .*\n  called with .*\n"
        "  note        it calls rnn_backward, which is not correct yet",
    }
    for name, grade in grades.items():
        assert re.search(rf"^{name}  {grade}$", stdout, re.MULTILINE), stdout + stderr
    assert first.returncode == 1
    stdout, stderr = second.communicate(timeout=600)
    forward, backward = re.findall("called with (.*)", stdout)
    assert forward.endswith("h_prev = 0.3")  # the reader can compute the numbers of the example
    assert "dh = 1, " in backward


@pytest.mark.parametrize("lesson", FILLED_IN, ids=lambda lesson: lesson.path.stem)
def test_functions_to_fill_in_say_what_they_receive_and_return(tmp_path, lesson):
    names = definitions(lesson.path)["WRITE"]
    tree = ast.parse(source := blank(str(lesson.number), tmp_path))
    written = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    in_engine = [name.replace(".", "_") for name in names if "." in name]
    assert [*written][: len(in_engine)] == in_engine  # the lesson's functions may call them
    assert lesson.number != 8 or "dh_above = [0.7, -0.2, 1.0]  # dh_above[t - 1] is dL_t/dh_t" in source
    imported = {name.asname or name.name for node in tree.body for name in getattr(node, "names", [])}
    assert not imported & {name.partition(".")[0] for name in names}, "the original's module"
    assert imported == {1: {"np", "tanh"}, 11: {"np"}}.get(lesson.number, imported)
    for name in names:
        function = written[name.replace(".", "_")]
        said = ast.get_docstring(function)
        assert "`forward`" not in said or "forward" in names
        received = {argument.arg for argument in function.args.args}
        assert received - set(re.findall(r"\w+", said)) <= {"xp"}, name
        assert "xp" not in received or "`xp` is NumPy." in source


def halve(g, out):
    """Halve g in place, and copy it to `out`."""
    g *= 0.5
    out[...] = g


def leave(*_, **__):
    raise SystemExit


def stack_nothing(*_, **__):
    np.stack([])  # the error is raised in a file of NumPy's


def line_in(function):
    return f" in line {function.__code__.co_firstlineno + 1}: "


@pytest.mark.parametrize(
    ("yours", "original", "problem"),
    [
        (lambda g, out: halve(g, out), halve, ""),
        (lambda g, out: g * 0.5, halve, "your result is array"),
        (lambda g, out: None, halve, "argument g\n"),
        (lambda g, out: halve(g, out.copy()), halve, "argument out\n"),
        (lambda g, out: halve(g, out), lambda g, out: None, "changes its argument g in place\n"),
        (lambda g, out: None, lambda g, out: g + 0, "your result is None, expected an array of shape (3,)"),
        (leave, halve, "SystemExit" + line_in(leave)),
        (stack_nothing, halve, "ValueError" + line_in(stack_nothing)),
        (lambda: None, halve, "TypeError: "),
        (lambda g, out: g > 2, lambda g, out: g > 1, "result\n"),
        (lambda g, out: g - np.inf, lambda g, out: g - np.inf, ""),
        (lambda g, out: "", lambda g, out: "b", "your result is '', expected 'b'"),
        (lambda g, out: [g], lambda g, out: [g, g], "your result has 1 value, expected 2 values"),
        (lambda g, out: g, lambda g, out: [g, g], "your result has shape (3,), expected 2 values"),
        (lambda g, out: g[:1], lambda g, out: g + 0, "your result has shape (1,), expected (3,)"),
    ],
)
def test_results_and_changed_arguments_are_compared(yours, original, problem):
    grade, g, out = Grade(), np.array([0.0, 2.0, 4.0]), np.zeros(3)
    both = compared(yours, original, grade)
    result = both(g, out=out)
    expected = original(np.array([0.0, 2.0, 4.0]), out=np.zeros(3)) if original is not halve else None
    np.testing.assert_array_equal(result, expected)
    assert grade.problem.startswith(problem), grade.problem
    assert grade.problem.endswith("\n  called with g = [0. 2. 4.], out = [0. 0. 0.]" if problem else "")
    assert problem or not grade.problem, grade.problem
    assert out.tolist() == ([0, 1, 2] if original is halve else [0, 0, 0]), "changed once, by the original"
    both(g, out=out)
    assert grade.calls == (1 if problem else 2), "the first problem is kept"


def both_states(g):
    h = g * 2
    return (g, h), h


ZERO, ONE = np.zeros(2), np.ones(2)


@pytest.mark.parametrize(
    ("yours", "names", "problem"),
    [
        (((ZERO, ZERO), ONE), "", "result 1 2\n"),
        (((ZERO, ZERO), ONE), returned(both_states), "result 1 h\n"),
        (((ZERO, ONE), np.zeros(7)), "", "your result 2 has shape (7,), expected (2,)"),
        (((ZERO,), ONE), "", "your result 1 has 1 value, expected 2 values"),
    ],
)
def test_a_wrong_result_is_named_as_in_the_original(yours, names, problem):
    found = difference("result", parts(yours), parts(((ZERO, ONE), ONE)), names)
    assert found.startswith(problem), found


def test_names_of_results():
    assert returned(lstm.backward) == [["da_i", "da_f", "da_o", "da_g"], "dc_prev"]
    found = difference("result", np.zeros(7), np.ones(7), ["y", "loss"])
    assert found.startswith("result (y, loss), the first six numbers\n")
    compared(lambda: 1, lambda: 2, grade := Grade())()
    assert grade.problem.startswith("result\n")
    assert "called with" not in grade.problem


def test_blank_writes_a_file_once_and_then_grades_it(cli, home, monkeypatch):
    assert "lesson_05.py: fill in the functions" in cli("lessons", 5, "--blank").stdout
    with monkeypatch.context() as patch:
        patch.setattr(lessons, "grade", lambda lesson, path: {"one": Grade(1), "two": Grade()})
        assert cli("lessons", 5, "--blank", status=1).stdout == "one  correct\ntwo  not called\n"
    Path("lesson_05.py").write_text("def softmax(logits): ...\n")
    assert "lesson_05.py has no function p_minus_onehot" in cli("lessons", 5, "--blank", status=1).stderr
    assert Path("lesson_05.py").read_text() == "def softmax(logits): ...\n"
