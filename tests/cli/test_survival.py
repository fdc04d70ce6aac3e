"""Test that training survives the loss of its terminal or log, and can resume after being killed."""

import os
import pty
import signal
import sys
from pathlib import Path

import pytest
from toys import ONE_THREAD, TOY, history_of, parts, toy_settings

from minichar.checkpoints.checkpoint import load_training
from minichar.training.events import Step
from minichar.training.start import begin

LONG = ("--max-epochs", "100000", "--print-every", "5", "--eval-val-every", "100000000")
SHORT = ("--print-every", "5", "--eval-val-every", "20")


@pytest.fixture
def started(process, home):
    """Return a function that starts a training run in a subprocess."""
    return lambda *arguments, **options: process("train", "--data", "input.txt", *TOY, *arguments, **options)


def checkpoint_of(home):
    (path,) = (home / "cv").glob("*_interrupted.npz")
    load_training(path)
    return path


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
    checkpoint_of(home)


def test_a_closed_pipe_does_not_stop_training(started, home):
    """With ``minichar train 2>&1 | head -1``, training finishes silently."""
    ours, theirs = os.pipe()
    child = started(*SHORT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.read(ours, 1)
    os.close(ours)
    assert child.wait() == 141
    assert len(history_of(max((home / "cv").iterdir(), key=os.path.getmtime))) > 2


def test_closed_standard_error_does_not_stop_training(started, home):
    child = started(*SHORT, stderr=None, preexec_fn=lambda: os.close(2))
    path = child.communicate()[0].strip()
    assert child.returncode == 0
    load_training(home / path)


def test_a_terminal_that_disappears_without_a_signal(started, home):
    """A process started with ``setsid`` receives no SIGHUP, and its writes to the terminal fail."""
    ours, theirs = pty.openpty()
    child = started(*SHORT, stderr=theirs, start_new_session=True)
    os.close(theirs)
    os.read(ours, 1)
    os.close(ours)
    path = child.communicate()[0].strip()
    assert child.returncode == 0
    load_training(home / path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="requires /dev/full")
def test_a_log_that_cannot_be_written_is_reported_once(cli, home):
    result = cli("train", "--data", "input.txt", *TOY, *SHORT, "--log", "/dev/full")
    (warning,) = (line for line in result.stderr.splitlines() if "/dev/full" in line)
    assert warning == "warning    cannot write to log file /dev/full: No space left on device; continuing"
    load_training(Path(result.stdout.strip()))


class TestResumeWithoutAPath:
    @pytest.fixture
    def interrupted(self, home):
        """Return a checkpoint saved between evaluations, in step 40, by a run that was then killed."""
        trainer = begin(toy_settings(".", num_layers=1)).trainer
        for event in trainer.run():
            if isinstance(event, Step) and event.iteration == 40:
                return trainer.save_latest().path

    def test_it_uses_the_newest_checkpoint(self, cli, home, interrupted):
        result = cli("train", "--resume", "--max-epochs", 3, "--eval-val-every", 100)
        assert f"resumed    at epoch {40 / 33:.2f}" in result.stderr
        assert parts(Path(result.stdout.strip()))[0]["training"]["iteration"] == 3 * 33
        assert not interrupted.exists()

    def test_it_uses_the_checkpoint_directory(self, cli, home, interrupted):
        (home / "cv").rename(home / "elsewhere")
        assert "no checkpoint in cv/" in cli("train", "--resume", status=1).stderr
        result = cli("train", "--resume", "--checkpoint-dir", "elsewhere")
        assert result.stdout.startswith("elsewhere/lm_lstm_epoch")

    def test_a_corrupted_newest_checkpoint_is_skipped(self, cli, home, interrupted):
        newest = interrupted.with_name("lm_lstm_epoch9999.00_interrupted.npz")
        newest.write_bytes(interrupted.read_bytes()[:-100])
        later = interrupted.stat().st_mtime + 10
        os.utime(newest, (later, later))
        result = cli("train", "--resume")
        assert f"skipped: cv/{newest.name} is not a checkpoint" in result.stderr
        assert f"resumed    at epoch {40 / 33:.2f}" in result.stderr

    def test_if_all_are_corrupted_the_error_names_the_newest(self, cli, home, interrupted):
        interrupted.write_bytes(b"")
        error = cli("train", "--resume", status=1).stderr
        assert error.startswith(f"Error: no checkpoint in cv/ can be resumed: cv/{interrupted.name} is not a")


def test_temporary_files_of_killed_runs_are_deleted_at_the_start(cli, home):
    (home / "cv").mkdir()
    (home / "cv" / ".lm_lstm_latest.npz.0123abcd.tmp").write_bytes(b"half")
    cli("train", "--data", "input.txt", *TOY)
    assert not list((home / "cv").glob(".*"))
