"""Progress on standard error, in a line redrawn in place."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from operator import length_hint
from time import monotonic
from typing import Self, TypeVar

import click

from minichar.cli.stopping import write_at_once
from minichar.terminal import fitting, say, unescaped

Item = TypeVar("Item")

REFRESH = 0.1
"""Minimum time between updates, in seconds."""
ESTIMATE_AFTER = 1.0
"""Time in seconds after which the remaining time is shown."""
WIDTH = 10
"""Width of a progress bar, in columns."""
CLEAR_LINE = "\r\x1b[K"


class ProgressLine:
    """A line on standard error, redrawn in place, shown only on a terminal and cut to its width."""

    def __init__(self, hidden: bool) -> None:
        self.hidden = hidden or not sys.stderr.isatty()
        self.shown_at = monotonic()

    @property
    def due(self) -> bool:
        """Whether the line is shown and was last updated at least `REFRESH` seconds ago."""
        return not self.hidden and monotonic() - self.shown_at >= REFRESH

    def draw(self, parts: Sequence[str], ranked: Sequence[str]) -> None:
        """Redraw the line, without the parts that do not fit (see `fitting`)."""
        self.shown_at = monotonic()
        self.send(f"\r{fitting(parts, ranked)}\x1b[K")

    def send(self, text: str) -> None:
        """Write text with control sequences, if the line is shown."""
        if not self.hidden:
            click.echo(text, nl=False, file=unescaped(sys.stderr))

    def say(self, line: str) -> None:
        """Print a line of text above the progress line, if any."""
        self.send(CLEAR_LINE)
        say(line)

    def say_at_once(self, line: str) -> None:
        """Like `say`, but safe to call from a signal handler."""
        write_at_once(("" if self.hidden else CLEAR_LINE) + f"{line}\n")


class Bar(ProgressLine):
    """Context manager that shows a progress bar for `length` steps, of which `first` are already complete.

    The parts of the label are shown before the bar. If not all of them fit, the first one is kept.
    """

    def __init__(self, length: int, *label: str, hidden: bool = False, first: int = 0) -> None:
        super().__init__(hidden)
        self.length, self.label = length, label
        self.position = self.first = first
        self.begun = self.shown_at

    def __enter__(self) -> Self:
        self.redraw()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.position < self.length:  # the work has ended early: do not show that time is left
            self.send(CLEAR_LINE)
        else:
            self.redraw()
            self.send("\n")
        self.hidden = True

    @property
    def due(self) -> bool:
        """Whether the bar is shown, and is complete or was last updated at least `REFRESH` seconds ago."""
        return super().due or (not self.hidden and self.position >= self.length)

    def update(self, steps: int = 1) -> None:
        """Count steps, and redraw the bar if an update is due."""
        self.position += steps
        if self.due:
            self.redraw()

    def redraw(self) -> None:
        """Redraw the bar."""
        done, left = self.position - self.first, max(self.length - self.position, 0)
        percent = 100 * (self.length - left) // max(self.length, 1)
        filled = WIDTH * percent // 100
        bar, share = f"[{'#' * filled}{'-' * (WIDTH - filled)}]", f"{percent}%"
        elapsed = monotonic() - self.begun
        if done and left and elapsed >= ESTIMATE_AFTER:
            minutes, seconds = divmod(round(elapsed * left / done), 60)
            times = [f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"]
        else:
            times = []
        self.draw([*self.label, bar, share, *times], [share, *self.label[:1], *times, *self.label[1:], bar])


def with_bar(steps: Iterable[Item], *label: str, length: int | None = None, hidden: bool) -> Iterator[Item]:
    """Yield the steps of a sequence, of which there are at most `length`, and show a progress bar."""
    with Bar(length_hint(steps) if length is None else length, *label, hidden=hidden) as bar:
        for step in steps:
            yield step
            bar.update()
        bar.position = bar.length  # samples that end early take fewer steps
