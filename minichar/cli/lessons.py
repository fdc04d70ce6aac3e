"""``minichar lessons``."""

import os
import shutil
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import click

from minichar.cli.blank import grade, write_blank
from minichar.cli.course import MARKER, PACKAGE, Lesson, find_lessons, get_lesson, output, run_lesson
from minichar.cli.options import GroupedCommand, argument
from minichar.errors import MinicharError


def fill_in(lesson: Lesson, path: Path) -> int:
    """Write a file with functions to fill in, or grade the one that exists. Return the exit status."""
    if not path.exists():
        write_blank(lesson, path)
        click.echo(
            f"{path}: fill in the functions, then run `minichar lessons {lesson.number} --blank` again"
        )
        return 0
    grades = grade(lesson, path)
    for name, one in grades.items():
        click.echo(f"{name}  {one.problem or ('correct' if one.calls else 'not called')}")
    return int(any(one.problem or not one.calls for one in grades.values()))


def print_story(lesson: Lesson, with_outputs: bool) -> None:
    """Print a lesson's text without its figures and, if requested, with the outputs of its functions."""
    text, *marked = MARKER.split(lesson.story)
    click.echo(wrapped(text.strip("\n")) + "\n")
    for kind, name, after in zip(marked[::3], marked[1::3], marked[2::3], strict=True):
        if kind == "output" and not with_outputs:
            click.echo(f"    ({name}() is not run, because pytest is not installed)\n")
        elif kind == "output":
            click.echo(f"running {name}(), which may take minutes", err=True)
            try:
                written = output(lesson, name)
            except MinicharError as error:  # an exercise can stop training, and its tests say why
                written = f"Error: {error}"
            click.echo(textwrap.indent(written, "    ") + "\n")
        if rest := wrapped(after.strip("\n")):
            click.echo(f"{rest}\n")


def wrapped(text: str) -> str:
    """Wrap paragraphs to the terminal width, leaving indented equations unchanged."""
    fill = textwrap.TextWrapper(
        min(shutil.get_terminal_size().columns, 100),
        break_long_words=False,
        break_on_hyphens=False,
    ).fill
    blocks = text.split("\n\n")
    return "\n\n".join(block if block.startswith(" ") else fill(block) for block in blocks)


@click.command("lessons", cls=GroupedCommand)
@argument(
    "name",
    "Lesson to print and run: its number, or a word in its title or summary, such as lstm.  "
    "[default: list the lessons]",
    required=False,
    metavar="[LESSON]",
)
@click.option("--answer", is_flag=True, help="Print only the exercise and its answer.")
@click.option(
    "--blank",
    is_flag=True,
    help="Write lesson_NN.py, in which you fill in the lesson's functions. If the file exists, grade it.",
)
@click.pass_context
def command(ctx: click.Context, name: str | None, answer: bool, blank: bool) -> None:
    """Print a lesson and run its tests, or list the lessons.

    The course covers everything from a single weight and the chain rule to LSTM, GRU and RMSprop.
    Each lesson explains one idea, derives its backward pass line by line, checks the equations against
    the engine's code, and ends with an exercise: change a line and see which tests fail.

    The exit status is pytest's or, with --blank, 1 if a function is wrong or missing. If the environment
    variable MINICHAR_ANSWERS is 0, --answer is disabled.
    """
    if name is None:
        if answer or blank:
            option = "--answer" if answer else "--blank"
            raise click.UsageError(f"{option} requires a lesson: `minichar lessons 1 {option}`")
        lessons = find_lessons()
        width = max(len(lesson.title) for lesson in lessons)
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
        for lesson in lessons:
            row = f"{lesson.number:2}  {lesson.title:{width}}  "
            indent = " " * (len(row) if columns >= 2 * len(row) else 4)
            click.echo(textwrap.fill(row + lesson.summary, columns, subsequent_indent=indent))
        click.echo("start with: minichar lessons 0", err=True)
        return
    lesson = get_lesson(name)
    if blank:
        ctx.exit(fill_in(lesson, Path(f"lesson_{lesson.number:02}.py")))
    if answer:
        if os.environ.get("MINICHAR_ANSWERS") == "0":
            raise MinicharError("answers are disabled: the environment variable MINICHAR_ANSWERS is 0")
        click.echo(f"Exercise\n\n{wrapped(lesson.exercise)}\n\nAnswer\n\n{wrapped(lesson.answer)}")
        return
    can_run = find_spec("pytest") is not None
    here = Path("minichar").resolve()
    if can_run and (here / "engine").is_dir() and here != PACKAGE:
        click.echo(
            f"Warning: minichar is imported from {PACKAGE}, so changes in {here} have no effect: "
            "run `pip install -e .` in this directory first",
            err=True,
        )
    print_story(lesson, can_run)
    status = run_lesson(lesson)
    click.echo(f"\nExercise\n\n{wrapped(lesson.exercise)}\n")
    click.echo(f"Undo the change afterwards. To see the answer: minichar lessons {lesson.number} --answer")
    click.echo(f"lesson file  {lesson.path}\nminichar/    {PACKAGE}", err=True)
    ctx.exit(status)
