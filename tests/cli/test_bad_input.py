"""Test that commands reject invalid input with a one-line error and leave no partial files.

Every test runs a command and checks that the working directory is unchanged.
"""

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from toys import ONE_THREAD, TEXT, TOY, listing, npy, parts, put_together, replace_member, toy_model

import minichar
from minichar import load
from minichar.checkpoints.checkpoint import save
from minichar.checkpoints.naming import loss_in_name


@pytest.fixture
def refused(cli, home):
    """Return a function that runs a failing command and returns its one-line error."""

    def refused(*arguments, status=1):
        before = listing(home)
        result = cli(*arguments, status=status)
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, result.stderr
        assert result.stderr.splitlines()[-1] == errors[0]
        if status == 1:
            assert "Usage" not in result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        assert listing(home) == before
        return errors[0]

    return refused


# Training text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "'x.txt' does not exist: choose a text file, or a directory that contains input.txt"),
        (b"", "'x.txt' is empty: choose a longer text"),
        (b"\xef\xbb\xbf", "'x.txt' is empty"),
        (b"a", "'x.txt' has only one character"),
        ("汉".encode(), "'x.txt' has only one character"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0" * 30, "looks like a binary file"),
        (bytes(range(256)) * 4, "at byte offset 128"),
        ("the river 汉".encode()[:-1], "at byte offset 10 "),
        (b"caf\xe9 " * 100, "at byte offset 3 "),
        ("the river".encode("utf-16"), "so use --encoding utf-16"),
    ],
    ids=["missing", "empty", "BOM", "one", "one wide", "binary", "bytes", "truncated", "latin-1", "utf-16"],
)
def test_invalid_text_file(refused, checkpoint, home, content, words):
    if content is not None:
        (home / "x.txt").write_bytes(content)
    assert words in refused("train", "--data", "x.txt")
    assert words in refused("train", "--data", "x.txt", "--init-from", checkpoint)
    assert words in refused("eval", checkpoint, "--data", "x.txt")


def test_directory_without_input_txt(refused, home):
    (home / "folder").mkdir()
    assert "'folder/input.txt' does not exist" in refused("train", "--data", "folder")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_text_is_not_a_regular_file(refused, home, kind):
    """Unlike unreadable files, these files are rejected even if the tests run as root."""
    path = home / "x" / "input.txt"
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    assert "'x/input.txt' is not a regular file" in refused("train", "--data", "x")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can read every file")
def test_text_without_read_permission(refused, home):
    (home / "x.txt").write_text("the river")
    (home / "x.txt").chmod(0)
    assert "Permission denied" in refused("train", "--data", "x.txt")


def test_text_with_a_read_error(refused, home, monkeypatch):
    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("minichar.text.joining.FileIO", fail)
    assert "cannot read 'input.txt': Input/output error" in refused("train", "--data", "input.txt")


def test_text_is_too_short(refused, home):
    (home / "x.txt").write_text("the river")
    assert re.search(
        r"'x.txt' has 9 characters, too few for .*: use at least \d+", refused("train", "--data", "x.txt")
    )


def test_min_freq_excludes_every_character(refused):
    assert "no character occurs 100000 or more times" in refused(
        "train", "--data", "input.txt", "--min-freq", 100_000
    )


# Options


def test_max_time_names_its_unit(cli):
    stderr = cli("train", "--max-time", "4m", status=2).stderr
    assert stderr.endswith(
        "Error: Invalid value for '--max-time': '4m' is not a number of minutes, such as 90 or 0.5\n"
    )


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--rnn-size", (0, -1, 2**40)),
        ("--num-layers", (0, -1, 10**9)),
        ("--batch-size", (-1,)),
        ("--seq-length", (-1,)),
        ("--max-epochs", (-1, "nan")),
        ("--max-time", (-1, "inf")),
        ("--patience", (-1,)),
        ("--warmup", (-0.1, 1)),
        ("--eval-val-every", (-1,)),
        ("--dropout", (1, -0.1, "nan")),
        ("--learning-rate", (0, -1, "nan", "inf")),
        ("--learning-rate-decay", (0, 1.5)),
        ("--learning-rate-decay-after", (-1,)),
        ("--decay-rate", (1, -0.5)),
        ("--grad-clip", (-1, "nan")),
        ("--clip-norm", (-1, "inf")),
        ("--train-frac", (0, -1, 1.5, "nan", "inf", 0.96)),
        ("--val-frac", (-0.1, 0.06, "nan", 2)),
        ("--start-ss", (-1, 2)),
        ("--decay-ss", (-1,)),
        ("--min-ss", (1.5,)),
        ("--min-freq", (-1,)),
        ("--seed", (-1,)),
        ("--keep", (-1,)),
        ("--sample-every", (-1,)),
        ("--savefile", ("a/b", "../x")),
        ("--title", ("two\nlines", "x" * 101)),
        ("--encoding", ("klingon", "", "base64", "rot13")),
    ],
)
def test_option_out_of_range(refused, option, values):
    for value in values:
        refused("train", "--data", "input.txt", *TOY, option, value)


@pytest.mark.parametrize("option", ["--learning-rate", "--clip-norm", "--start-ss"])
def test_numbers_that_are_not_finite(refused, option):
    error = refused("train", "--data", "input.txt", *TOY, option, "1e400")
    assert error == f"Error: {option} is inf; it must be a finite number"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--rnn-size", "many"),
        ("--rnn-size", "8.5"),
        ("--learning-rate", "fast"),
        ("--model", "transformer"),
        ("--split", "rows"),
        ("--ss-schedule", "cosine"),
        ("--ss-feed", "beam"),
        ("--gru-reset", "never"),
        ("--dtype", "float16"),
        ("--print-every", 0),
        ("--unheard-of", 1),
    ],
)
def test_option_of_the_wrong_type(refused, option, value):
    refused("train", "--data", "input.txt", *TOY, option, value, status=2)


def test_fractions_with_a_sum_above_1(refused):
    fractions = ["--train-frac", 0.7, "--val-frac", 0.4]
    error = refused("train", "--data", "input.txt", *fractions)
    assert error.startswith("Error: --train-frac is 0.7 and --val-frac is 0.4: the first must be above 0, ")
    assert "their sum at most 1" in error


# Checkpoints


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("boom",)


def object_array():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([Bomb()], dtype=object), allow_pickle=True)
    return file.getvalue()


def compress(path):
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def change(path, **changes):
    header, arrays = parts(path)
    put_together(path, header | changes, arrays)


def change_config(path, **changes):
    header, arrays = parts(path)
    put_together(path, header | {"config": header["config"] | changes}, arrays)


def change_array(path, name, array):
    header, arrays = parts(path)
    arrays = {n: a for n, a in arrays.items() if n != name} | ({} if array is None else {name: array})
    put_together(path, header, arrays)


def test_text_file_instead_of_a_checkpoint(refused, home):
    (home / "my text.txt").write_text("the river 汉" * 500, encoding="utf-8")
    for arguments in (["sample"], ["eval", "--data", "input.txt"], ["inspect"], ["train", "--resume"]):
        message = refused(*arguments, "my text.txt")
        assert message == (
            "Error: 'my text.txt' is a text file, not a checkpoint: train a model on it with "
            "`minichar train --data 'my text.txt'`, or continue the text with "
            "`minichar sample --prime-file 'my text.txt'`"
        )


def test_the_training_text_is_missing(refused, train, home):
    train("--max-epochs", 1)
    (home / "input.txt").unlink()
    for command in (["train", "--resume", "cv"], ["eval"]):
        error = refused(*command)
        assert "was trained on 'input.txt', which does not exist: specify a text with --data" in error


def test_a_dataset_that_is_missing_can_be_downloaded_again(refused, cli, home):
    (home / "data" / "tang300").mkdir(parents=True)
    text = home / "data" / "tang300" / "input.txt"
    text.write_text(TEXT)
    cli("train", "--data", "data/tang300", *TOY, "--max-epochs", 1)
    text.unlink()
    assert "get it with `minichar data get tang300`" in refused("eval")


DAMAGE = {
    "missing": (lambda p: p.unlink(), "no such checkpoint: x.npz"),
    "empty": (lambda p: p.write_bytes(b""), "it is empty, truncated, or not a zip archive"),
    "truncated": (
        lambda p: p.write_bytes(p.read_bytes()[:-300]),
        "it is empty, truncated, or not a zip archive",
    ),
    "text": (lambda p: p.write_text("hello"), "it is empty, truncated, or not a zip archive"),
    "not ours": (lambda p: np.savez(p, a=np.zeros(3)), "it has no minichar header"),
    "a zip": (
        lambda p: replace_member(p, "readme.txt", b"hello"),
        "'readme.txt', which is not the name of an array",
    ),
    "later version": (
        lambda p: change(p, version=3),
        "it has format version 3, but this version of minichar reads only versions 1 to 2: upgrade",
    ),
    "no version": (lambda p: change(p, version=None), "it has format version None"),
    "objects": (lambda p: replace_member(p, "layer1.W.npy", object_array()), "never pickled objects"),
    "objects beside": (lambda p: replace_member(p, "x.npy", object_array()), "never pickled objects"),
    "declared shape": (
        lambda p: replace_member(p, "readout.W.npy", npy("<f4", (10**12,), bytes(96))),
        "has shape (1000000000000,)",
    ),
    "units": (lambda p: change_config(p, rnn_size=2**40), "rnn_size is 1099511627776"),
    "layers": (lambda p: change_config(p, num_layers=10**6), "layer1.W is unexpected"),
    "missing array": (lambda p: change_array(p, "layer1.Wx", None), "layer1.Wx is missing"),
    "extra array": (lambda p: change_array(p, "extra", np.zeros(2)), "extra is unexpected"),
    "shape": (lambda p: change_array(p, "readout.W", np.zeros((2, 2))), "readout.W has shape (2, 2)"),
    "NaN": (lambda p: change_array(p, "readout.W", np.full((27, 9), np.nan, "f4")), "not finite"),
    "compressed": (compress, "save it without compression"),
    "vocabulary": (
        lambda p: change(p, vocabulary={"characters": "ab", "unknown": False}),
        "2 characters but its config specifies",
    ),
    "header": (lambda p: change(p, config=None), "its header is incomplete or invalid"),
    "deep header": (lambda p: put_together(p, '{"a":' * 9000, parts(p)[1]), "its header is not JSON"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_invalid_checkpoint(refused, checkpoint, home, damage):
    """Every command that reads a checkpoint must report the damage."""
    os.rename(checkpoint, "x.npz")
    hurt, words = DAMAGE[damage]
    hurt(home / "x.npz")
    assert words in refused("sample", "x.npz")
    assert words in refused("inspect", "x.npz")
    assert words in refused("eval", "x.npz")
    if damage != "not ours":  # convert accepts arrays without a model
        assert words in refused("convert", "x.npz", "y.npz")
    assert words in refused("train", "--data", "input.txt", "--init-from", "x.npz")
    assert words in refused("train", "--resume", "x.npz")
    assert not (home / "boom").exists()


def test_directory_without_checkpoints(refused, home):
    (home / "x").mkdir()
    for arguments in (
        ["sample", "x"],
        ["eval", "x"],
        ["inspect", "x"],
        ["convert", "x"],
        ["train", "--resume", "x"],
        ["train", "--data", "input.txt", "--init-from", "x"],
    ):
        assert "no checkpoint in x/: train one" in refused(*arguments)


@pytest.mark.parametrize("name", ["mean_square", "state"])
@pytest.mark.parametrize(
    "array", [None, np.zeros(3), np.array(["a"]), np.full((1, 2, 8, 4), np.inf)], ids=str
)
def test_invalid_training_state(refused, train, home, name, array):
    os.rename(train("--max-epochs", 1), "x.npz")
    change_array(home / "x.npz", name, array)
    refused("train", "--resume", "x.npz", "--max-epochs", 2)


def test_a_directory_of_runs(refused, cli, train):
    for trial, rate in enumerate((0.01, 0.05, 0.001)):
        train("--checkpoint-dir", f"runs/trial-{trial}", "--max-epochs", 1, "--learning-rate", rate)
    best = min(Path("runs").glob("*/*.npz"), key=loss_in_name).parent
    for arguments in (["sample", "runs"], ["eval", "runs"], ["train", "--resume", "runs"]):
        assert refused(*arguments) == (
            f"Error: no checkpoint in runs/: choose one of its directories, such as {best}"
        )


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("x.pt", "start a new run with --init-from"),
        ("x.safetensors", "start a new run with --init-from"),
        ("x.onnx", "only .npz checkpoints have one"),
        ("x.html", "only .npz checkpoints have one"),
    ],
)
def test_a_format_without_training_state_cannot_be_resumed(refused, home, name, advice):
    (home / name).write_bytes(b"x")
    error = refused("train", "--resume", name)
    assert error == f"Error: {name} has no training state to resume from: {advice}"
    with pytest.raises(minichar.MinicharError, match="has no training state to resume from"):
        minichar.train(resume=name, progress=False)
    (home / name).unlink()
    assert f"no such checkpoint: {name}" in refused("train", "--resume", name)


def test_converted_model_cannot_be_resumed(refused, cli, checkpoint):
    path = cli("convert", checkpoint).stdout.strip()
    assert "use --init-from to start from its weights" in refused("train", "--resume", path)


# Output that cannot be written


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
    assert last == "Error: cannot write to cv/: File too large; choose another directory"
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
