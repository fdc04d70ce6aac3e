"""Test that commands report output that cannot be written, before training if possible."""

import os
import subprocess
import sys

import pytest
from toys import ONE_THREAD, TEXT, TOY, listing, toy_model

from minichar import load
from minichar.checkpoints.checkpoint import save


def test_checkpoint_dir_is_a_file(refused, home):
    (home / "cv").write_text("mine")
    assert "cannot write to 'cv': it is not a directory; choose another one with --checkpoint-dir" in refused(
        "train", "--data", "input.txt", *TOY
    )
    assert "cannot write" in refused("train", "--data", "input.txt", *TOY, "--checkpoint-dir", "cv/deep")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="requires /proc")
def test_checkpoint_dir_is_not_writable(refused):
    error = refused("train", "--data", "input.txt", *TOY, "--checkpoint-dir", "/proc/self/cv")
    assert "cannot write to /proc/self/cv/: No such file or directory" in error


def test_log_is_not_writable(refused):
    assert "cannot write to log file nowhere/x.jsonl" in refused(
        "train", "--data", "input.txt", *TOY, "--log", "nowhere/x.jsonl"
    )


def test_the_log_is_another_file(refused, home):
    error = refused("train", "--data", "input.txt", *TOY, "--log", "input.txt")
    assert error == "Error: log file input.txt is not a JSON Lines file: choose another name"
    assert (home / "input.txt").read_text(encoding="utf-8") == TEXT


FULL = """
import resource, signal, sys
from minichar.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


def on_a_full_disk(room, *arguments):
    """Run a command with a file size limit of `room` bytes to simulate a full disk."""
    # Python 3.11 would truncate the .pyc files that it writes, and other tests would fail to import them.
    command = [sys.executable, "-B", "-c", FULL, str(room), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ONE_THREAD, timeout=600)


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits on Windows")
@pytest.mark.parametrize("room", [9000, 13000])  # 13000 bytes hold the weights but not the headers
def test_a_disk_without_room_for_a_checkpoint_is_detected_before_training(checkpoint, home, room):
    arguments = ["train", "--data", "input.txt", *TOY]
    before = listing(home)
    result = on_a_full_disk(room, *arguments)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert (
        last == "Error: cannot write to cv/: File too large; choose another directory with --checkpoint-dir"
    )
    assert "initial" not in result.stderr
    assert result.stderr.count("Error") == 1
    assert "Traceback" not in result.stderr
    assert "ignored" not in result.stderr
    assert listing(home) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits on Windows")
def test_full_disk_during_conversion(checkpoint, home):
    save("there.npz", toy_model())
    before = listing(home)
    result = on_a_full_disk(3000, "convert", checkpoint, "there.npz", "--force")
    assert result.returncode == 1
    assert result.stderr.startswith("Error: cannot write there.npz: File too large")
    assert result.stderr.count("\n") == 1
    assert listing(home) == before
    assert load("there.npz")
