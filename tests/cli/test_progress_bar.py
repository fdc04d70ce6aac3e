"""Test the progress bar of `minichar train`, which is shown only on a terminal."""

import os
import pty
import re
import signal
import sys
from codecs import getincrementaldecoder

import pytest
from click.testing import CliRunner
from toys import TOY

from minichar.cli.speed import apparent_start, expected_end


def on_a_terminal(process, *arguments, until=lambda shown: False):
    """Run a command with standard error on a pseudo-terminal, and interrupt it once ``until(shown)`` is true.

    Return ``(stderr, stdout, exit status)``.
    """
    ours, theirs = pty.openpty()
    child = process(*arguments, stderr=theirs)
    os.close(theirs)
    shown, stopped = "", False
    decoder = getincrementaldecoder("utf-8")()  # a read may end within a character
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the process has closed its end
            break
        if not block:
            break
        shown += decoder.decode(block)
        if not stopped and until(shown):
            child.send_signal(signal.SIGINT)
            stopped = True
    os.close(ours)
    stdout = child.stdout.read()
    return shown, stdout, child.wait()


def test_progress_bar_on_a_terminal(process):
    arguments = ["train", "--data", "input.txt", *TOY, "--max-epochs", 400, "--eval-val-every", 50]
    bar = r"epoch \d+\.\d\d/400  loss \d\.\d{3}  [\d,]+ characters/s \[[#-]{10}\] +\d+%"
    time_left = r"  \d\d:\d\d:\d\d"

    def until(shown):
        return "epoch 1.52  train" in shown and len(re.findall(bar + time_left, shown)) > 5

    shown, stdout, status = on_a_terminal(process, *arguments, until=until)
    assert status == 130
    assert len(re.findall(bar, shown)) > 5
    assert max(map(len, re.findall(bar + time_left, shown))) < 80, "longer lines wrap and cannot be redrawn"
    assert re.search(r"\r\x1b\[Kepoch 1\.52  train .* validation ", shown), "lines are printed above the bar"
    assert shown.count("\r\x1b[Kstopping") == 1
    assert re.search(r"resume with:\s+minichar train --resume cv/", shown)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is shown again"
    assert len(stdout.splitlines()) == 1


def test_no_progress_bar_when_quiet(process):
    arguments = ["train", "--data", "input.txt", *TOY, "--quiet", "--print-every", 20]
    shown, stdout, status = on_a_terminal(process, *arguments)
    assert status == 0
    assert "[#" not in shown
    assert "\x1b" not in shown
    assert re.search(r"epoch 0\.61/2  loss", shown)
    assert len(stdout.splitlines()) == 1


def test_the_progress_bar_of_a_resumed_run_begins_where_the_run_stopped(train, cli, monkeypatch):
    path = train("--max-epochs", 3)
    with CliRunner().isolation():
        monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    stderr = cli("train", "--resume", path, "--max-epochs", 4).stderr
    shown = [int(percent) for percent in re.findall(r"\] +(\d+)%", stderr)]
    assert shown[0] == 75
    assert shown[-1] == 100


def test_the_time_left_is_estimated_from_the_steps_since_the_run_was_resumed():
    """The resumed run took 20 s for 10 steps, so all 60 steps would have taken 120 s."""
    assert apparent_start(1000.0, 20.0, iteration=60, first=50) == 880.0


@pytest.fixture
def bar(cli, clock, monkeypatch):
    """Return a function that runs `minichar train` and returns the percentages that the progress bar shows.

    Each step takes a second.
    """

    def run(*arguments):
        with CliRunner().isolation():
            monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
        stderr = cli("train", *arguments).stderr
        return [int(percent) for percent in re.findall(r"\] +(\d+)%", stderr)]

    return run


ENDLESS = ["--max-epochs", 1e6, "--eval-val-every", 1000]


def test_with_a_time_limit_the_bar_ends_at_the_limit(bar):
    shown = bar("--data", "input.txt", *TOY, *ENDLESS, "--max-time", 1)
    assert [shown[step] for step in (6, 30, 54)] == [10, 52, 94], "3 seconds are for the evaluation"


def test_with_a_time_limit_the_bar_of_a_resumed_run_counts_the_earlier_steps(bar, train):
    path = train("--max-epochs", 60 / 33)  # 60 steps
    shown = bar("--resume", path, *ENDLESS, "--max-time", 1)
    assert [shown[step] for step in (30, 54)] == [76, 97]


def test_with_a_time_limit_the_bar_is_not_full_after_a_slow_first_step(bar, clock):
    clock.step = lambda i: 20.0 if i == 1 else 0.01
    shown = bar("--data", "input.txt", *TOY, *ENDLESS, "--max-time", 0.35)
    assert 90 <= shown[10] < 100


def test_the_expected_end_of_a_run():
    assert expected_end(10, 100, left=30.0, per_step=0.5) == 70
    assert expected_end(10, 60, left=30.0, per_step=0.5) == 60
    assert expected_end(10, 100, left=-1.0, per_step=0.5) == 11, "the last step is not finished yet"
    assert expected_end(10, 100, left=float("inf"), per_step=0.0) == 100
