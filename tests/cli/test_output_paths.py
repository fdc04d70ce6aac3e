"""Test that output that cannot be written is an error, and that the printed path names the output file."""

import os
import re
import subprocess
import sys

import pytest
from toys import ONE_THREAD, TEXT, TOY, listing, toy_model

from minichar.checkpoints.checkpoint import save


@pytest.fixture
def weird(home):
    """Create a directory whose name is not valid UTF-8, and return the name."""
    os.mkdir(name := os.fsdecode(b"caf\xe9"))
    return name


def test_printed_path_names_the_file(cli, checkpoint, weird):
    run = os.path.join(weird, "run.npz")
    os.rename(checkpoint, run)
    for command in (
        ["convert", run],
        ["inspect", run, "--text", "input.txt", "--html", os.path.join(weird, "page.HTML")],
        ["data", "get", "pydocs", "--dir", os.path.join(weird, "texts")],
    ):
        printed = cli(*command).stdout_bytes.removesuffix(b"\n")
        assert printed.startswith(b"caf\xe9/")
        assert os.path.isfile(printed)


FAKE = "a\nloss        0.0"


def test_a_newline_in_a_path_does_not_start_a_line_of_output(cli, home):
    """Except for the paths on standard output, which are exact."""
    (home / FAKE).mkdir()
    text, folder = f"{FAKE}/input.txt", f"{FAKE}/cv"
    (home / text).write_text(TEXT)
    run = ["--data", text, *TOY, "--max-epochs", 0.2]
    trained = cli("train", *run, "--checkpoint-dir", folder)
    best = trained.stdout.removesuffix("\n")
    writing = [
        cli("convert", best, best.removesuffix("npz") + "html"),
        cli("inspect", best, "--html", f"{FAKE}/page.html", "--length", 9),
        cli("data", "get", "pydocs", "--dir", FAKE),
    ]
    for result in (trained, *writing):
        assert os.path.isfile(result.stdout.removesuffix("\n"))
    shown = [trained.stderr, writing[-1].stderr]
    again = cli("train", *run, "--checkpoint-dir", folder)
    shown += [again.stderr, cli("sample", best, "--length", 40, "--novelty").stderr]
    for command in (["eval", best], ["plot", best], ["inspect", best]):
        shown.append(cli(*command).output)
    for output in shown:
        assert r"a\nloss  " in output
        assert "\nloss        0.0" not in output


def test_printed_paths_and_commands_work_in_directories_that_look_like_options(cli, home):
    (home / "-dd").mkdir()
    (home / "-dd" / "input.txt").write_text(TEXT)
    train = ["train", "--data", "-dd", *TOY, "--checkpoint-dir"]
    trained = cli(*train, "-cv", "--max-time", 1e-6)
    best = trained.stdout.strip()
    assert best.startswith("./-cv/lm_")
    assert trained.stderr.endswith(f"generate   minichar sample {best} --temperature 0.8\n")
    assert "\n  minichar train --resume ./-cv/lm_" in trained.stderr
    assert cli("convert", best).stdout.startswith("./-cv/")
    assert cli("data", "get", "pydocs", "--dir", "-d").stderr.endswith("minichar train ./-d/pydocs\n")
    for status, command, answer in (
        (1, ["sample", "./-dd/input.txt"], "`minichar train ./-dd/input.txt`"),
        (1, ["sample", "./-dd/input.txt"], "`minichar sample --prime-file ./-dd/input.txt`"),
        (1, ["eval", "./-dd/input.txt"], "`minichar eval --data ./-dd/input.txt`"),
    ):
        assert answer in cli(*command, status=status).stderr


def test_invalid_bytes_in_a_path_are_escaped_on_a_terminal(on_a_terminal, weird):
    shown, *_ = on_a_terminal("data", "get", "pydocs", "--dir", weird)
    assert r"caf\xe9/pydocs/input.txt" in shown.splitlines()


FULL = """
import resource, signal, sys
from minichar.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


def on_a_full_disk(room, *arguments):
    """Run a command with a file size limit of `room` bytes to simulate a full disk, and return its error."""
    # Python 3.11 would truncate the .pyc files that it writes, and other tests would fail to import them.
    command = [sys.executable, "-B", "-c", FULL, str(room), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=ONE_THREAD, timeout=600)
    assert result.returncode == 1
    assert not re.search("initial|Traceback|ignored", result.stderr)
    *_, error = result.stderr.splitlines()
    assert result.stderr.count("Error") == 1
    return error


def test_a_full_disk_is_detected_before_training_and_changes_no_files(checkpoint, home):
    """There is room for the weights but not for the headers."""
    save("there.npz", toy_model())
    before = listing(home)
    error = on_a_full_disk(13000, "train", "--data", "input.txt", *TOY)
    advice = "choose another directory with --checkpoint-dir"
    assert error == f"Error: cannot write to cv/: File too large; {advice}"
    error = on_a_full_disk(3000, "convert", checkpoint, "there.npz", "--force")
    assert error.startswith("Error: cannot write there.npz: File too large")
    assert listing(home) == before
