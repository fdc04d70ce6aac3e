"""Tests for the plan that ``minichar train`` prints, and for the command that repeats the run."""

import re
import shlex
from math import inf
from pathlib import Path

import numpy as np
import pytest

from minichar.checkpoints.checkpoint import load
from minichar.checkpoints.choosing import best_checkpoint
from minichar.training import choose, timetable
from minichar.training import plan as planning
from minichar.training.cost import Speed
from minichar.training.settings import Settings
from minichar.training.trainer import Trainer

SLOW = Speed(2000.0, 2000.0)
SMALL = ("--num-layers", 1, "--batch-size", 4, "--seq-length", 6, "--patience", 0, "--sample-every", 0)


@pytest.fixture
def slow(monkeypatch):
    """Measure a machine on which a few steps take a minute."""

    def time_step(device, config, vocabulary, settings, chunks):
        return 1000 * SLOW.step(config, len(chunks.streams), chunks.T)

    monkeypatch.setattr(planning, "time_step", time_step)
    monkeypatch.setattr(timetable, "MORE", inf)  # never extend a run


def plan_of(said):
    """Return the plan, or None if none is printed."""
    plan = re.search(r"^plan +(.*)$", said, re.MULTILINE)
    return plan and plan[1]


def repeated(cli):
    """Run the command that ``minichar inspect`` prints, and return the old and the new model."""
    command = re.search(r"^command +minichar (train .*)$", cli("inspect", "cv").stdout, re.MULTILINE)[1]
    assert command.endswith(" --checkpoint-dir cv-2")
    said = cli(*shlex.split(command), "--sample-every", 0, "--checkpoint-dir", "again").stderr
    assert plan_of(said) is None
    return [load(best_checkpoint(Path(folder))) for folder in ("cv", "again")]


@pytest.mark.usefixtures("slow")
def test_the_command_in_inspect_repeats_the_run_without_measuring(cli, home, monkeypatch):
    words = "--data", "input.txt", "--recipe", "best", "--max-time", 5, *SMALL, "--seed", 7
    plan = plan_of(cli("train", *words).stderr)
    settings = load(best_checkpoint(home / "cv")).details["settings"]
    assert plan == f"5 min: {settings['max_epochs']:g} epochs"
    monkeypatch.delattr(planning, "time_step")
    first, again = repeated(cli)
    changed = {"checkpoint_dir": "again", "max_time": 0.0, "recipe": Settings().recipe}
    assert again.details["settings"] == settings | changed
    np.testing.assert_array_equal(first.parameters.flat, again.parameters.flat)


@pytest.mark.usefixtures("slow")
def test_a_run_that_is_faster_than_measured_is_extended(cli, home, clock, monkeypatch):
    clock.step = lambda i: 0.01
    monkeypatch.setattr(planning, "choose_max_epochs", lambda *_: 4.0)
    monkeypatch.setattr(timetable, "MORE", 0.3)
    monkeypatch.setattr(timetable, "FEWEST", 2)
    said = cli("train", "--data", "input.txt", "--max-time", 50, *SMALL, "--rnn-size", 40).stderr
    assert said.count("\nextended   to 4 epochs, because training is faster than planned\n") == 1
    first, again = repeated(cli)
    assert again.details["settings"]["max_epochs"] == 4
    np.testing.assert_array_equal(first.parameters.flat, again.parameters.flat)


@pytest.mark.usefixtures("slow")
def test_a_plan_says_if_the_run_needs_less_than_its_time(cli, monkeypatch):
    words = "train", "--data", "input.txt", *SMALL, "--rnn-size", 8, "--max-time"
    (short,) = re.findall(r"^5 min: (\S+) epochs$", plan_of(cli(*words, 5).stderr))
    monkeypatch.setattr(Trainer, "run", lambda self, started: iter(()))
    plan = plan_of(cli(*words, 50_000).stderr)
    (enough,) = re.findall(r"^at most (\S+) epochs, in less than 50000 min$", plan)
    assert float(enough) > float(short)


def test_too_large_a_model_for_the_time_is_reported(cli, monkeypatch):
    """The suggested time is enough, and half of it is not far too little."""
    large = "--rnn-size", 300
    cli("train", "--data", "input.txt", *SMALL, *large, "--max-epochs", 0.01)
    monkeypatch.setattr(planning, "time_step", lambda *_: 0.5)
    monkeypatch.setattr(Trainer, "run", lambda self, started: iter(()))

    def advised(*options):
        said = cli("train", "--data", "input.txt", *SMALL, *options).stderr
        words = (
            r"^warning    the model is too large for (\S+) min: omit --rnn-size, or use --max-time (\d+)m$"
        )
        found = re.search(words, said, re.MULTILINE)
        return found and float(found[2])

    enough = advised(*large, "--max-time", 5)
    assert enough > 3 * 5
    assert advised(*large, "--max-time", enough / 4) == pytest.approx(enough, rel=0.2)
    assert advised(*large, "--max-time", enough / 2) is None
    assert advised("--max-time", 5) is None
    assert advised(*large, "--max-time", 5, "--max-epochs", 1) is None
    assert advised("--init-from", "cv", "--max-time", 5) is None  # the size cannot be changed


def test_without_a_time_limit_the_time_is_that_of_the_recipe(cli, monkeypatch):
    monkeypatch.setattr(Trainer, "run", lambda self, started: iter(()))
    words = "--data", "input.txt", *SMALL, "--recipe", "best"
    assert plan_of(cli("train", *words, "--max-epochs", 0.3).stderr) is None  # these may take any time
    shown = plan_of(cli("train", *words).stderr)
    assert re.fullmatch(r"about \d\d s on one core: \S+ epochs", shown), "more epochs would not be useful"
    monkeypatch.setattr(choose, "EPOCHS", 1e6)
    monkeypatch.setattr(choose, "RARE_EPOCHS", 1e6)
    assert plan_of(cli("train", *words).stderr).startswith("about 60 min on one core: ")
