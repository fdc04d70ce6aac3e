"""Test that signals stop training after a step, that it survives the loss of its terminal, and resumes."""

import os
import pty
import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from toys import ONE_THREAD, TOY, history_of, parts, toy_settings

from minichar.checkpoints import checkpoint
from minichar.checkpoints.checkpoint import load_training
from minichar.checkpoints.choosing import best_checkpoint
from minichar.checkpoints.naming import loss_in_name
from minichar.cli.report import Report
from minichar.cli.stopping import stopping
from minichar.training.events import Step
from minichar.training.start import begin
from minichar.training.trainer import Trainer

LONG = ("--max-epochs", "100000", "--print-every", "5", "--eval-val-every", "100000000")
SHORT = ("--print-every", "5", "--eval-val-every", "10")


@pytest.fixture
def started(process, home):
    """Return a function that starts a training run in a subprocess."""
    return lambda *arguments, **options: process("train", "--data", "input.txt", *TOY, *arguments, **options)


def test_sighup_is_ignored_under_nohup(started, home):
    child = started(*SHORT, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert any("characters/s" in line for line in child.stderr)
    child.send_signal(signal.SIGHUP)
    child.communicate()
    assert child.returncode == 0


def test_closing_the_terminal_saves_a_checkpoint(home):
    """As in a terminal window, the process is the session leader of a pseudo-terminal."""
    command = [sys.executable, "-m", "minichar", "train", "--data", "input.txt", *TOY, *LONG]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, ONE_THREAD)
    shown = b""
    while b"characters/s" not in shown:
        shown += os.read(terminal, 4096)  # fails if the process has ended
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    (path,) = (home / "cv").iterdir()
    load_training(path)


def test_a_closed_pipe_does_not_stop_training(started, home):
    """With ``minichar train 2>&1 | head -1``, training finishes silently."""
    ours, theirs = os.pipe()
    child = started(*SHORT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.read(ours, 1)
    os.close(ours)
    assert child.wait() == 141
    assert len(history_of(max((home / "cv").iterdir(), key=os.path.getmtime))) > 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="requires /dev/full")
def test_a_log_that_cannot_be_written_is_reported_once(cli, home):
    result = cli("train", "--data", "input.txt", *TOY, *SHORT, "--log", "/dev/full")
    (warning,) = (line for line in result.stderr.splitlines() if "/dev/full" in line)
    assert warning == "warning    cannot write to log file /dev/full: No space left on device; continuing"
    load_training(Path(result.stdout.strip()))


def test_resume_without_a_path_uses_the_newest_intact_checkpoint_in_the_checkpoint_directory(cli, home):
    """The run was killed after it had saved a checkpoint between evaluations, in step 40."""
    trainer = begin(toy_settings(".", num_layers=1)).trainer
    for event in trainer.run():
        if isinstance(event, Step) and event.iteration == 40:
            interrupted = trainer.save_latest().path
            break
    newest = interrupted.with_name("lm_lstm_epoch9999.00_interrupted.npz")
    newest.write_bytes(interrupted.read_bytes()[:-100])
    later = interrupted.stat().st_mtime + 10
    os.utime(newest, (later, later))
    (half := interrupted.with_name(".lm_lstm_latest.npz.0123abcd.tmp")).write_bytes(b"half")
    (home / "cv").rename(home / "elsewhere")
    assert "no checkpoint in cv/" in cli("train", "--resume", status=1).stderr
    (home / "elsewhere").rename(home / "cv")
    result = cli("train", "--resume", "--max-epochs", 3, "--eval-val-every", 100)
    assert f"skipped: cv/{newest.name} is not a checkpoint" in result.stderr
    assert f"resumed    at epoch {40 / 33:.2f}" in result.stderr
    assert parts(Path(result.stdout.strip()))[0]["training"]["iteration"] == 3 * 33
    assert not interrupted.exists()
    assert not half.exists()
    (home / "cv").rename(home / "elsewhere")
    result = cli("train", "--resume", "--max-epochs", 4, "--checkpoint-dir", "elsewhere")
    assert result.stdout.startswith("elsewhere/lm_lstm_epoch")
    for path in (home / "elsewhere").iterdir():
        path.write_bytes(b"")
    error = cli("train", "--resume", "--checkpoint-dir", "elsewhere", status=1).stderr
    assert re.match(r"Error: no checkpoint in elsewhere/ can be resumed: elsewhere/lm_\S+ is not a", error)


# Signals


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_at(monkeypatch, iteration, *numbers):
    """Send signals to this process during a training step."""
    learn = Trainer.learn

    def interrupted(self):
        if self.iteration == iteration:
            for number in numbers:
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
def test_signal_saves_and_prints_how_to_resume_and_the_best_checkpoint(
    cli, home, monkeypatch, number, handlers
):
    monkeypatch.setattr("minichar.training.timetable.QUICK", 600.0)
    interrupt_at(monkeypatch, 9, number)
    result = cli("train", "--data", "input.txt", *TOY, "--eval-val-every", 4, status=128 + number)
    path = best_checkpoint(Path("cv"))
    assert re.fullmatch(r"lm_lstm_epoch0\.30_\d\.\d{4}\.npz", path.name)
    assert "stopped at epoch 0.30; resume with:\n  minichar train --resume cv/" + path.name in result.stderr
    assert re.search(rf"^result .* loss {loss_in_name(path):.3f}, ", result.stderr, re.M)
    assert f"\ngenerate   minichar sample {path} " in result.stderr
    assert Path(result.stdout.strip()) == path
    assert parts(path)[0]["training"]["iteration"] == 10
    assert {signal.getsignal(each) for each in SIGNALS} == {handlers}


@pytest.mark.parametrize("patience", [0, 60])
def test_second_signal_exits_at_once_after_the_patience(cli, home, monkeypatch, patience):
    monkeypatch.setattr("minichar.cli.stopping.PATIENCE", patience)
    interrupt_at(monkeypatch, 5, signal.SIGINT, signal.SIGINT)
    stderr = cli("train", "--data", "input.txt", *TOY, status=130).stderr
    assert ("\nstopped without saving\n" in stderr) == (patience == 0)
    assert len(list((home / "cv").iterdir())) == (patience > 0)


@pytest.mark.parametrize(
    ("owner", "name", "step"), [(checkpoint, "save", 9), (Report, "finish", 9), (Report, "finish", -1)]
)
def test_signals_during_the_last_save_and_the_closing_messages_are_ignored(
    cli, home, monkeypatch, handlers, owner, name, step
):
    """After the last chunk, there is nothing to resume."""
    monkeypatch.setattr("minichar.cli.stopping.PATIENCE", 0)
    interrupt_at(monkeypatch, step, signal.SIGINT)
    original = getattr(owner, name)

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        original(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(owner, name, interrupted)
    result = cli("train", "--data", "input.txt", *TOY, status=130)
    path = result.stdout.strip()
    if step < 0:
        assert "resume with" not in result.stderr
        assert f"generate   minichar sample {path} --temperature 0.8\n" in result.stderr
    else:
        assert [str(each) for each in Path("cv").iterdir()] == [path]
        assert f"resume with:\n  minichar train --resume {path}\n" in result.stderr


def test_only_the_second_of_many_signals_raises_an_exception(monkeypatch, handlers):
    """The next one would interrupt the clean-up, such as showing the cursor again."""
    monkeypatch.setattr("minichar.cli.stopping.PATIENCE", 0)
    said, raised = [], []
    with stopping(SimpleNamespace(stop=lambda: None, is_saved=False), said.append):
        for n in range(4):
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt as error:
                raised.append((n, str(error)))
    assert raised == [(1, "stopped without saving")]
    assert said == ["stopping (press Ctrl-C again to stop at once without saving)"]
