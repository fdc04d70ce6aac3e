"""``minichar lessons``."""

from pathlib import Path

import click

from minichar.cli.course import PACKAGE, find_lessons, get_lesson, run_lesson


@click.command("lessons")
@click.argument("number", required=False, type=click.IntRange(1))
@click.pass_context
def command(ctx: click.Context, number: int | None) -> None:
    """Learn how it learns: tell lesson NUMBER and run it; without NUMBER, list them.

    From one weight and the chain rule to LSTM, GRU and what lies around them. A lesson tells an idea
    and derives the way back line by line. Then its tests run, against the engine's own code: each name
    is a claim. At its end is an exercise: change a line and see which claim no longer holds.
    The exit status is pytest's.
    """
    if number is None:
        lessons = find_lessons()
        width = max(len(lesson.title) for lesson in lessons)
        for lesson in lessons:
            click.echo(f"{lesson.number:2}  {lesson.title:{width}}  {lesson.summary}")
        click.echo("begin with: minichar lessons 1", err=True)
        return
    lesson = get_lesson(number)
    here = Path("minichar").resolve()
    if (here / "engine").is_dir() and here != PACKAGE:
        click.echo(
            f"what runs is {PACKAGE} and not {here}: pip install -e . first, or an exercise changes nothing",
            err=True,
        )
    click.echo(f"{lesson.story}\n")
    status = run_lesson(lesson)
    click.echo(f"\nExercise\n\n{lesson.exercise}\n")
    click.echo("Undo the change afterwards. The answer is at the end of the lesson's file.")
    click.echo(f"this lesson  {lesson.path}\nminichar/    {PACKAGE}", err=True)
    ctx.exit(status)
