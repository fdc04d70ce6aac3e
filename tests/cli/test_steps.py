"""Test that a number of training steps is answered with epochs of the text on the command line."""

import re
import shlex
from pathlib import Path

import pytest
from toys import TEXT, TOY

from minichar.checkpoints.checkpoint import load_training

FORMULA = "use --max-epochs; an epoch has (length of the text) / (batch size × sequence length) steps"


def test_steps_are_converted_to_epochs_of_the_text(cli, refused):
    error = refused("train", "--input=input.txt", "--max_iters", 1234, *TOY, status=2)
    found = re.fullmatch(
        r"Error: No such option '--max_iters'. Use: minichar (.*) \(about 1,234 steps; .* has (\d+)\)", error
    )
    assert found
    command, per_epoch = shlex.split(found[1]), int(found[2])
    assert command[-2:] == ["--max-epochs", f"{1234 / per_epoch:.4g}"]
    trained = cli(*command[:-1], f"{60 / per_epoch:.4g}")
    assert load_training(Path(trained.stdout.strip()))[1].progress.iteration == 60


@pytest.mark.parametrize(
    ("steps", "options", "epochs"),
    [
        ("600", ["--batch-size", "2", "--seq-length", "10"], "10"),
        ("600", ["--batch-size", "2", "--seq-length", "10", "--train-frac", "0.5"], "18.75"),
        ("1", ["--batch-size", "2", "--seq-length", "10"], "0.01667"),
        ("640", ["--batch-size", "2", "--seq-length", "10", "--val", "input.txt"], "10"),
    ],
)
def test_the_number_of_epochs_depends_on_the_layout(refused, home, steps, options, epochs):
    (home / "input.txt").write_text((TEXT * 2)[:1281])
    for command in ("train", "sweep"):
        error = refused(command, "--data", "input.txt", *options, "--steps", steps, status=2)
        words = shlex.join([command, "--data", "input.txt", *options, "--max-epochs", epochs])
        assert not [*home.glob("*.npz")]
        assert f"'--steps'. Use: minichar {words} (about {int(steps):,} step" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--steps", 9],
        ["--data", "absent.txt", "--steps", 9],
        ["--data", "-", "--steps", 9],
        ["--data", "input.txt", "--steps", "many"],
        ["--data", "input.txt", "--steps", 0],
        ["--data", "input.txt", "--data", "input.txt", "--steps", 9],
        ["--data", "input.txt", "--batch-size", -1, "--steps", 9],
        ["--data", "input.txt", "--steps", 9, "--xyzzy"],
        ["--data", "input.txt", "--resume", "cv", "--steps", 9],
    ],
)
def test_steps_are_explained_if_the_text_is_not_known(refused, arguments):
    assert refused("train", *arguments, status=2) == f"Error: No such option '--steps': {FORMULA}"
