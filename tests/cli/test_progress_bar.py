"""Test the progress bar, which is shown only on a terminal."""

import io
import re
import sys
from pathlib import Path

import pytest
from toys import TOY

from minichar.cli.bar import Bar, with_bar
from minichar.cli.speed import expected_end

DRAWN = re.compile(r"\r([^\r\n\x1b]*)\x1b\[K")


def test_progress_bar_on_a_terminal(on_a_terminal):
    arguments = ["train", "--data", "input.txt", *TOY, "--max-epochs", 400, "--eval-val-every", 50]
    bar = r"epoch \d+\.\d\d/400  loss \d\.\d{3}  [\d,]+ characters/s  \[[#-]{10}\]  \d+%"
    time_left = r"  \d\d:\d\d:\d\d"

    def until(shown):
        return len(re.findall(bar, shown)) > 5 and re.search(bar + time_left, shown)

    shown, stdout, status = on_a_terminal(*arguments, streams=["stderr"], until=until)
    assert status == 130
    assert max(map(len, DRAWN.findall(shown))) < 80, "longer lines wrap and cannot be redrawn"
    assert re.search(r"\r\x1b\[Kepoch 1\.52  train .* validation ", shown), "lines are printed above the bar"
    assert shown.count("\r\x1b[Kstopping") == 1
    assert re.search(r"resume with:\s+minichar train --resume cv/", shown)
    assert len(stdout.splitlines()) == 1


def test_the_progress_bar_fits_a_narrow_terminal(on_a_terminal):
    """Standard output is not a terminal, so its width is not the right one."""
    shown, *_ = on_a_terminal("train", "--data", "input.txt", *TOY, streams=["stderr"], columns=20)
    assert DRAWN.findall(shown)[-1] == "epoch 1.00/1  100%"


@pytest.fixture
def screen(monkeypatch):
    """Return a function that makes standard error a terminal, and returns a function for the lines drawn."""

    def screen(columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stderr", shown := io.StringIO())
        shown.isatty = lambda: True
        return lambda: DRAWN.findall(shown.getvalue())

    return screen


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (80, "epoch 1.80/4  loss 2.123  12,345 characters/s  [####------]  45%  00:00:11"),
        (40, "epoch 1.80/4  loss 2.123  45%  00:00:11"),
        (20, "epoch 1.80/4  45%"),
        (10, "45%"),
        (1, ""),
    ],
)
def test_a_progress_bar_omits_what_does_not_fit(screen, clock, columns, line):
    drawn, bar = screen(columns), Bar(20, "epoch 1.80/4", "loss 2.123", "12,345 characters/s")
    clock.now += 9.0
    bar.update(9)
    assert drawn()[-1] == line


@pytest.mark.parametrize(
    ("length", "first", "updates"),
    [
        (
            100,
            40,
            [
                (0.75, 1, "[####------]  41%"),  # an estimate after less than a second would be too rough
                (0.25, 0, "[####------]  41%  00:00:59"),
                (19.0, 9, "[#####-----]  50%  00:01:40"),  # 10 steps took 20 s, so the other 50 take 100 s
                (9 * 3600.0, 0, "[#####-----]  50%  45:01:40"),
            ],
        ),
        (0, 0, [(1.0, 0, "[----------]  0%")]),
        (3, 0, [(1.0, 6, "[##########]  100%")]),
    ],
)
def test_the_time_left_is_estimated_from_the_steps_since_the_run_was_resumed(
    screen, clock, length, first, updates
):
    drawn, bar = screen(), Bar(length, first=first)
    for seconds, steps, line in updates:
        clock.now += seconds
        bar.update(steps)
        assert drawn()[-1] == line


def test_a_progress_bar_is_redrawn_at_most_ten_times_per_second(screen, clock):
    drawn = screen()
    for _ in with_bar(range(70), length=100, hidden=False):
        clock.now += 1 / 16
    assert [int(line.split()[1][:-1]) for line in drawn()] == [0, *range(2, 71, 2), 100]
    assert sys.stderr.getvalue().endswith("\n")


@pytest.mark.parametrize(("steps", "end"), [(19, "\r\x1b[K"), (20, "100%\x1b[K\n")])
def test_a_bar_that_ends_early_disappears(screen, clock, steps, end):
    """It would say how much time is left."""
    screen()
    with Bar(20) as bar:
        bar.update(steps)
    assert sys.stderr.getvalue().endswith(end)


@pytest.fixture
def bar(cli, clock, terminal):
    """Return a function that runs `minichar train` and returns the percentages that the progress bar shows.

    Each step takes a second.
    """

    def run(*arguments):
        stderr = cli("train", *arguments).stderr
        return [int(percent) for percent in re.findall(r"\] +(\d+)%", stderr)]

    return run


def test_the_bar_of_a_resumed_run_begins_where_the_run_stopped(bar, train):
    train("--max-epochs", 3)
    path = max(Path("cv").iterdir())
    assert bar("--resume", path, "--max-epochs", 4, "--quiet") == []
    shown = bar("--resume", path, "--max-epochs", 4)
    assert (shown[0], shown[-1]) == (75, 100)


def test_with_a_time_limit_the_bar_ends_at_the_limit(bar):
    endless = "--max-epochs", 1e6, "--eval-val-every", 1000
    shown = bar("--data", "input.txt", *TOY, *endless, "--max-time", 1)
    assert [shown[step] for step in (6, 30, 54)] == [10, 52, 94], "3 seconds are for the evaluation"


def test_the_expected_end_of_a_run():
    assert expected_end(10, 100, left=30.0, per_step=0.5) == 70
    assert expected_end(10, 60, left=30.0, per_step=0.5) == 60
    assert expected_end(10, 100, left=-1.0, per_step=0.5) == 11, "the last step is not finished yet"
    assert expected_end(10, 100, left=float("inf"), per_step=0.0) == 100
