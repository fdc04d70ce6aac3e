import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
from codecs import getincrementaldecoder

import pytest
from click.testing import CliRunner
from toys import ONE_THREAD, TEXT, TOY, listing, toy_model

from minichar.checkpoints.checkpoint import save
from minichar.cli import INTERRUPTED, main
from minichar.training.evaluation import Evaluation


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Change to a directory with a short ``input.txt``: about 30 chunks per epoch with the `TOY` options."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "input.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def cli(home):
    """Return a function that runs a command, checks its exit status and returns the result."""

    def cli(*arguments, status=0, stdin=None, **context):
        options = {"input": stdin, "prog_name": "minichar"} | context
        result = CliRunner().invoke(main, [str(a) for a in arguments], **options)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code == INTERRUPTED != status:  # Ctrl-C in the terminal must also stop the tests
            raise KeyboardInterrupt
        assert result.exit_code == status, result.output
        return result

    return cli


@pytest.fixture
def terminal(monkeypatch):
    """Make standard error a terminal in commands that run in this process."""
    with CliRunner().isolation():
        monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)


@pytest.fixture
def refused(cli, home):
    """Return a function that runs a command that must fail without changing files, and returns its error.

    Only with `introduced`, the description of a training run may precede the error.
    """

    def refused(*arguments, status=1, introduced=False):
        before = listing(home)
        result = cli(*arguments, status=status)
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, result.stderr
        assert result.stderr.splitlines()[-1] == errors[0]
        if status == 1:
            assert "Usage" not in result.stderr
        assert "Traceback" not in result.stderr
        assert ("\ndevice     " in result.stderr) == introduced
        assert result.stdout == ""
        assert listing(home) == before
        return errors[0]

    return refused


@pytest.fixture
def train(cli):
    """Return a function that trains a toy model and returns the path printed to standard output."""

    def train(*arguments):
        return cli("train", "--data", "input.txt", *TOY, *arguments).stdout.strip()

    return train


@pytest.fixture
def measure(monkeypatch):
    """Return a function that sets the losses that evaluations will measure.

    Its arguments are the validation losses in order, and `fit`, the training loss of every evaluation.
    """

    def measure(*losses, fit=1.0):
        found = iter(x for loss in losses for x in (loss, fit))
        monkeypatch.setattr(
            "minichar.training.trainer.evaluate", lambda *_: Evaluation(next(found), 1, 1, 48)
        )

    return measure


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    """Train a toy model, and return its checkpoint, below a directory that also contains ``input.txt``."""
    folder = tmp_path_factory.mktemp("toy_run")
    (folder / "input.txt").write_text(TEXT, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(main, ["train", "--data", "input.txt", *TOY])
    assert result.exit_code == 0, result.output
    return folder / result.stdout.strip()


@pytest.fixture
def checkpoint(home, toy_run):
    """Copy the toy model to ``cv``, and return its path. Much faster than calling `train`."""
    shutil.copytree(toy_run.parents[1], home, dirs_exist_ok=True)
    return f"cv/{toy_run.name}"


@pytest.fixture
def toy(home):
    """Save a toy model with a small vocabulary, and return its path."""
    save("toy.npz", toy_model())
    return "toy.npz"


@pytest.fixture
def process(home):
    """Return a function that starts minichar in a subprocess and captures its output."""
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


@pytest.fixture
def on_a_terminal(process):
    """Return a function that runs minichar with some of its output streams on a pseudo-terminal.

    It returns what the terminal received, the rest of the standard output, and the exit status. The process
    is interrupted once ``until(shown)`` is true.
    """

    def on_a_terminal(
        *arguments, streams=("stdout", "stderr"), columns=80, until=lambda shown: False, **environment
    ):
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        env = {name: value for name, value in ONE_THREAD.items() if name != "COLUMNS"} | environment
        child = process(*arguments, env=env, **dict.fromkeys(streams, theirs))
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
        return shown.replace("\r\n", "\n"), child.stdout.read() if child.stdout else "", child.wait()

    return on_a_terminal
