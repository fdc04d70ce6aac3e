"""Tests for the plan that ``minichar train`` prints, and for the command that repeats it."""

import re
import shlex
from math import inf

import numpy as np
import pytest

from minichar.checkpoints.checkpoint import load
from minichar.checkpoints.choosing import best_checkpoint
from minichar.training import plan as planning
from minichar.training import start, timetable
from minichar.training.cost import Speed
from minichar.training.trainer import Trainer

SLOW = Speed(2000.0, 2000.0)
SMALL = ("--num-layers", 1, "--batch-size", 4, "--seq-length", 6, "--patience", 0, "--sample-every", 0)


@pytest.fixture
def slow(monkeypatch):
    """Measure a machine on which a few steps take a minute."""
    monkeypatch.setattr(
        planning,
        "time_step",
        lambda device, config, vocabulary, settings, split: 1000 * SLOW.step(config, split.B, split.T),
    )
    monkeypatch.setattr(timetable, "MORE", inf)  # never extend a run


def plan_of(said):
    """Return the lines of the plan."""
    return re.findall(r"^(?:plan| {11}) *(.*(?:epochs, dropout|without measuring).*)$", said, re.MULTILINE)


@pytest.mark.usefixtures("slow")
def test_the_printed_command_repeats_the_run_without_measuring(cli, home, monkeypatch):
    said = cli("train", "--data", "input.txt", "--max-time", 5, *SMALL, "--seed", 7).stderr
    plan, repeat = plan_of(said)
    settings = load(best_checkpoint(home / "cv")).details["settings"]
    cell = f"{settings['model'].upper()} 1×{settings['rnn_size']}"
    assert plan == f"5 min: {cell}, {settings['max_epochs']:g} epochs, dropout {settings['dropout']:g}"
    monkeypatch.delattr(planning, "time_step")
    command = shlex.split(repeat.removeprefix("to repeat it without measuring: "))
    assert command[:2] == ["minichar", "train"]
    assert "--max-time" not in command
    said = cli(*command[1:], "--checkpoint-dir", "again").stderr
    assert plan_of(said) == []
    first, again = (load(best_checkpoint(home / folder)) for folder in ("cv", "again"))
    changed = {"checkpoint_dir": "again", "max_time": 0.0}
    assert again.details["settings"] == settings | changed
    np.testing.assert_array_equal(first.parameters.flat, again.parameters.flat)


@pytest.mark.usefixtures("slow")
def test_a_run_that_is_faster_than_measured_is_extended(cli, home, clock, monkeypatch):
    """With the new options, the printed command repeats the run."""
    clock.step = lambda i: 0.01
    monkeypatch.setattr(start, "useful_epochs", lambda settings, corpus: 4.0)
    monkeypatch.setattr(timetable, "MORE", 1.3)
    monkeypatch.setattr(timetable, "FEWEST", 2)
    said = cli("train", "--data", "input.txt", "--max-time", 50, *SMALL, "--rnn-size", 40).stderr
    repeat = shlex.split(plan_of(said)[1].removeprefix("to repeat it without measuring: "))
    assert said.count("\nextended   to 4 epochs, because training is faster than planned\n") == 1
    replaced = re.search("\n {11}to repeat the run, replace two options of its plan: (.*)\n", said)[1]
    assert re.fullmatch(r"--max-epochs 4 --warmup \S+", replaced)
    cli(*repeat[1:], *replaced.split(), "--checkpoint-dir", "again")
    first, again = (load(best_checkpoint(home / folder)) for folder in ("cv", "again"))
    np.testing.assert_array_equal(first.parameters.flat, again.parameters.flat)


@pytest.mark.usefixtures("slow")
def test_the_command_sets_the_number_of_threads_if_it_was_limited(cli, monkeypatch):
    monkeypatch.setattr("minichar.devices.cpu.clearly_faster", lambda M, K, N: 2)
    monkeypatch.setattr("minichar.devices.cpu.limit", lambda threads: threads)
    monkeypatch.setattr("minichar.devices.cpu.CPU.threads", 0)  # restored after the test
    _, repeat = plan_of(cli("train", "--data", "input.txt", "--max-time", 5, *SMALL).stderr)
    assert repeat.startswith("to repeat it without measuring: OPENBLAS_NUM_THREADS=2 minichar train ")


def test_without_a_time_limit_the_time_is_that_of_the_recipe(cli, monkeypatch):
    monkeypatch.setattr(Trainer, "run", lambda self, started: iter(()))
    words = "--data", "input.txt", *SMALL, "--rnn-size", 8, "--max-epochs", 0.3
    assert plan_of(cli("train", *words).stderr) == []
    (line,) = plan_of(cli("train", *words[:-4], "--max-epochs", 0.3, "--dropout", 0).stderr)
    assert re.fullmatch(r"(LSTM|GRU) 1×\d+, 0.3 epochs, dropout 0", line)  # these may take any time
    (line,) = plan_of(cli("train", *words, "--max-epochs", "auto", "--recipe", "best", "--dropout", 0).stderr)
    assert re.fullmatch(r"about 60 min on one core: (LSTM|GRU) 1×8, \S+ epochs, dropout 0", line)


@pytest.mark.usefixtures("slow")
def test_a_fine_tuned_model_is_named(cli):
    cli("train", "--data", "input.txt", *SMALL, "--rnn-size", 8, "--max-epochs", 0.3)
    words = "--init-from", "cv", "--data", "input.txt", "--max-time", 5, "--checkpoint-dir", "b"
    _, repeat = plan_of(cli("train", *words, *SMALL[2:]).stderr)
    assert "--init-from cv" in repeat
    assert "--rnn-size" not in repeat
