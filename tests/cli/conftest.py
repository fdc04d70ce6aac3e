import os
import subprocess
import sys

import pytest
from click.testing import CliRunner
from toys import TEXT

from minichar.cli import main

TOY = ("--rnn-size", "8", "--num-layers", "1", "--batch-size", "4", "--seq-length", "6", "--max-epochs", "2")
ONE_THREAD = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder to work in, but for a text: 30-odd chunks an epoch with the options of `TOY`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def cli(home):
    """Run a command; the result must be a success, or have the exit status that is expected."""

    def cli(*arguments, status=0, stdin=None):
        result = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin, prog_name="minichar")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return cli


@pytest.fixture
def train(cli):
    """Train a toy model on the text; return the path that is printed."""

    def train(*arguments):
        return cli("train", "--data", "input.txt", *TOY, *arguments).stdout.strip()

    return train


@pytest.fixture
def process(home):
    """Start a real process; what it prints is at hand when it has ended."""
    started = []

    def process(*arguments, **options):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        options = pipes | {"encoding": "utf-8", "env": ONE_THREAD} | options
        command = [sys.executable, "-m", "minichar", *map(str, arguments)]
        started.append(subprocess.Popen(command, **options))
        return started[-1]

    yield process
    for child in started:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                pipe.close()
