"""``minichar lessons``."""

from pathlib import Path

import click

from minichar.cli.course import PACKAGE, find_lessons, get_lesson, run_lesson
from minichar.cli.options import GroupedCommand, argument


@click.command("lessons", cls=GroupedCommand)
@argument(
    "number",
    "Lesson to print and run.  [default: list the lessons]",
    required=False,
    metavar="[NUMBER]",
)
@click.pass_context
def command(ctx: click.Context, number: str | None) -> None:
    """Print a lesson and run its tests, or list the lessons.

    The course covers everything from a single weight and the chain rule to LSTM, GRU and RMSprop.
    Each lesson explains one idea, derives its backward pass line by line, checks every claim against
    the engine's code, and ends with an exercise: change a line and see which tests fail.

    The exit status is pytest's.
    """
    if number is None:
        lessons = find_lessons()
        width = max(len(lesson.title) for lesson in lessons)
        for lesson in lessons:
            click.echo(f"{lesson.number:2}  {lesson.title:{width}}  {lesson.summary}")
        click.echo("start with: minichar lessons 1", err=True)
        return
    lesson = get_lesson(number)
    here = Path("minichar").resolve()
    if (here / "engine").is_dir() and here != PACKAGE:
        click.echo(
            f"Warning: minichar is imported from {PACKAGE}, so changes in {here} have no effect: "
            "run `pip install -e .` in this directory first",
            err=True,
        )
    click.echo(f"{lesson.story}\n")
    status = run_lesson(lesson)
    click.echo(f"\nExercise\n\n{lesson.exercise}\n")
    click.echo("Undo the change afterwards. The answer is at the end of the lesson file.")
    click.echo(f"lesson file  {lesson.path}\nminichar/    {PACKAGE}", err=True)
    ctx.exit(status)
