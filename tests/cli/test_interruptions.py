"""Test that signals stop `minichar train` after a step, and that the run can be resumed."""

import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from toys import TOY, parts

from minichar.checkpoints import checkpoint
from minichar.checkpoints.choosing import best_checkpoint
from minichar.cli.report import Report
from minichar.cli.stopping import stopping
from minichar.training.trainer import Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_at(monkeypatch, iteration, number):
    """Send a signal to this process during a training step."""
    learn = Trainer.learn

    def interrupted(self):
        if self.iteration == iteration:
            os.kill(os.getpid(), number)
        return learn(self)

    monkeypatch.setattr(Trainer, "learn", interrupted)


@pytest.fixture
def handlers():
    """Make an uncaught signal fail the test instead of ending the test session."""

    def uncaught(number, frame):
        raise AssertionError("uncaught signal")

    before = {number: signal.signal(number, uncaught) for number in SIGNALS}
    yield uncaught
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_saves_and_prints_how_to_resume(cli, home, monkeypatch, number, handlers):
    interrupt_at(monkeypatch, 9, number)
    result = cli("train", "--data", "input.txt", *TOY, status=128 + number)
    (path,) = (home / "cv").iterdir()
    assert path.name == "lm_lstm_epoch0.30_interrupted.npz"
    assert "stopped at epoch 0.30; resume with:\n  minichar train --resume cv/" + path.name in result.stderr
    assert result.stdout == f"cv/{path.name}\n"
    assert parts(path)[0]["training"]["iteration"] == 10
    assert {signal.getsignal(each) for each in SIGNALS} == {handlers}


def test_interrupted_run_prints_the_best_checkpoint(cli, home, monkeypatch):
    interrupt_at(monkeypatch, 25, signal.SIGINT)
    result = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 10, status=130)
    assert Path(result.stdout.strip()) == best_checkpoint(Path("cv"))
    assert re.search(r"--resume cv/lm_lstm_epoch0\.\d\d_interrupted\.npz", result.stderr)


@pytest.mark.parametrize("patience", [0, 60])
def test_second_signal_exits_at_once_after_the_patience(cli, home, monkeypatch, patience):
    monkeypatch.setattr("minichar.cli.stopping.PATIENCE", patience)
    learn = Trainer.learn

    def impatient(self):
        if self.iteration == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return learn(self)

    monkeypatch.setattr(Trainer, "learn", impatient)
    stderr = cli("train", "--data", "input.txt", *TOY, status=130).stderr
    assert ("\nstopped without saving\n" in stderr) == (patience == 0)
    assert len(list((home / "cv").iterdir())) == (patience > 0)


@pytest.mark.parametrize("during", ["save", "finish"])
def test_signals_during_the_last_save_and_the_closing_messages_are_ignored(
    cli, home, monkeypatch, handlers, during
):
    monkeypatch.setattr("minichar.cli.stopping.PATIENCE", 0)
    interrupt_at(monkeypatch, 9, signal.SIGINT)
    owner, name = {"save": (checkpoint, "save"), "finish": (Report, "finish")}[during]
    original = getattr(owner, name)

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        original(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(owner, name, interrupted)
    result = cli("train", "--data", "input.txt", *TOY, status=130)
    (path,) = (home / "cv").iterdir()
    assert f"resume with:\n  minichar train --resume cv/{path.name}\n" in result.stderr
    assert result.stdout == f"cv/{path.name}\n"


def test_only_the_second_of_many_signals_raises_an_exception(monkeypatch, handlers):
    """The next one would interrupt the clean-up, such as showing the cursor again."""
    monkeypatch.setattr("minichar.cli.stopping.PATIENCE", 0)
    said, raised = [], []
    work = SimpleNamespace(stop=lambda: None, is_saved=False)
    with stopping(work, said.append):
        for n in range(4):
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt as error:
                raised.append((n, str(error)))
    assert raised == [(1, "stopped without saving")]
    assert said == ["stopping (press Ctrl-C again to stop at once without saving)"]


def test_a_signal_after_the_last_chunk_does_not_suggest_resuming(cli, home, monkeypatch, handlers):
    finish = Report.finish

    def interrupted(self):
        os.kill(os.getpid(), signal.SIGINT)
        finish(self)

    monkeypatch.setattr(Report, "finish", interrupted)
    result = cli("train", "--data", "input.txt", *TOY, status=130)
    assert "resume with" not in result.stderr
    assert f"generate text: minichar sample {result.stdout}" in result.stderr
