"""Test that a user's mistake is answered with a one-line error that says what to do, and changes no files."""

import shlex
import shutil
from pathlib import Path

import pytest
from toys import TEXT, TOY, parts, put_together

import minichar

LONG = "x" * 300
NO_TEXT = "does not exist: choose a text file, or a directory that contains input.txt"
A_TEXT = (
    "Error: 'my text.txt' is a text file, not a checkpoint: choose a checkpoint or a directory of checkpoints"
)
TRAIN_ON_IT = "train a model on the text with `minichar train 'my text.txt'`"
CONTINUE_IT = "continue the text with `minichar sample --prime-file 'my text.txt'`"
FOLLOW = "--follow plots one run as text: specify only its directory"


@pytest.fixture
def files(checkpoint, home):
    """Create files and directories that the commands below cannot use."""
    (home / "my text.txt").write_text("the river 汉" * 500, encoding="utf-8")
    (home / "snow.txt").write_text("the ☃", encoding="utf-8")
    (home / "latin.txt").write_bytes(b"caf\xe9 " * 100)
    (home / "utf16.txt").write_bytes("the river".encode("utf-16"))
    (home / "x.pt").write_bytes(b"x")
    (home / "x.onnx").write_bytes(b"x")
    header, arrays = parts(checkpoint)
    put_together("shape.npz", header, arrays | {"readout.W": arrays["readout.W"][:2, :2]})
    for name in ("empty.txt", "cut.npz"):
        (home / name).touch()
    (home / "none").mkdir()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        # Checkpoints
        ("sample 'The '", 1, "no such checkpoint: 'The '; choose a file or directory created by `minichar "),
        ("sample 'The '", 1, "; to set a prompt, use --primetext"),
        ("sample 'my text.txt'", 1, f"{A_TEXT}, {TRAIN_ON_IT}, or {CONTINUE_IT}"),
        ("eval 'my text.txt'", 1, f"{A_TEXT}, or evaluate a model on the text with `minichar eval --data '"),
        ("inspect 'my text.txt'", 1, A_TEXT),
        ("train --resume 'my text.txt'", 1, f"{A_TEXT}, or use `minichar train 'my text.txt' --resume` to "),
        ("convert y.npz", 1, "no such checkpoint: 'y.npz'"),
        ("train --resume cut.npz", 1, "it is empty, truncated, or not a zip"),
        ("train --resume none", 1, "no checkpoint in none/: train one"),
        ("train --init-from none", 1, "no checkpoint in none/: train one"),
        ("inspect shape.npz", 1, "readout.W has shape (2, 2)"),
        ("train --resume y.pt", 1, "no such checkpoint: 'y.pt'"),
        ("train --resume x.pt", 1, "has no training state to resume from: start a new run with --init-from"),
        ("train --resume x.onnx", 1, "has no training state to resume from: only .npz checkpoints store"),
        # Texts
        ("train --data y.txt", 1, f"'y.txt' {NO_TEXT}"),
        ("train --data y.txt --init-from cv", 1, f"'y.txt' {NO_TEXT}"),
        ("eval --data y.txt", 1, f"'y.txt' {NO_TEXT}"),
        ("train --data empty.txt", 1, "'empty.txt' is empty: choose a longer text"),
        ("train --data latin.txt", 1, "'latin.txt' is not utf-8 text at byte offset 3 "),
        ("train --data utf16.txt", 1, "so use --encoding utf-16"),
        ("inspect --text snow.txt --html x.html", 1, "'☃' (U+2603) 1 time;"),
        # Output that cannot be written, which is reported before training
        ("convert cv .. --force", 2, "is a directory."),
        ("inspect --html /", 2, "is a directory."),
        ("plot -o none/", 2, "is a directory."),
        ("train --log ''", 2, "the path is empty"),
        (f"sample {LONG}", 1, "File name too long"),
        (f"train --data input.txt --checkpoint-dir {LONG}", 1, "File name too long"),
        ("train https://e.com/b.txt", 2, "is a URL: download the file first, and use its local path"),
        ("train --data input.txt --checkpoint-dir input.txt", 1, "'input.txt': it is not a directory"),
        ("train --data input.txt --checkpoint-dir input.txt/y", 1, "input.txt/y/: Not a directory"),
        ("train --data input.txt --log y/x.jsonl", 1, "cannot write to log file y/x.jsonl: No such file or"),
        ("train --data input.txt --log input.txt", 1, "log file input.txt is not a JSON Lines file: choose"),
        ("inspect --html input.txt", 1, "cannot write the page to input.txt: its name must end in .html"),
        ("inspect --html input.txt/x.html", 1, "cannot write input.txt/x.html"),
        ("plot -o loss.svg.gz", 1, "cannot plot to loss.svg.gz: its name must end in .svg or .png"),
        # Values
        ("train --rnn-size -1", 1, "--rnn-size is -1; it must be from 1 to 1048576, or auto"),
        ("train --dropout -1", 1, "--dropout is -1; it must be at least 0 and below 1, or auto"),
        ("train --learning-rate 1e400", 1, "--learning-rate is inf; it must be a finite number, or auto"),
        ("sample y --temperature 0", 1, "is 0; it must be above 0 (for greedy decoding, use --argmax)"),
        (f"sample y --length {2**63}", 1, f"--length is {2**63}; it must be below 2**63"),
        ("train --data 'my text.txt' --train-frac 0.9 --val-frac 0.2", 1, "their sum at most 1"),
        ("gradcheck --rnn-size 0", 1, "--rnn-size is 0; it must be"),
        ("gradcheck --vocab-size 1", 2, "--vocab-size is 1; it must be at least 2"),
        ("gradcheck --teacher-forcing-ratio 1.5", 2, "ratio is 1.5; it must be from 0 to 1"),
        ("gradcheck --tied --embedding 4", 1, "--tied "),
        ("gradcheck --layer-norm --rnn-size 2", 2, "are inaccurate: use another --rnn-size"),
        (f"plot {'cv ' * 27}", 2, "a plot can show at most 26 runs"),
        ("sweep --search lr=1e-3..1e-2", 1, "no option 'lr' to search over"),
        ("sweep --data input.txt --search rnn_size=4,8 --val-frac 0", 1, "--val-frac 0 is too small: use a"),
        ("sweep", 2, "nothing to search over: try --search learning_rate=1e-3..2e-2:log"),
        # Options that have no effect or contradict each other
        ("sweep --init-from cv", 2, "--init-from is an option of minichar train"),
        ("inspect --text input.txt", 2, "--text requires --html"),
        ("inspect --encoding gb18030", 2, "--encoding requires --html"),
        ("plot --follow cv cv", 2, FOLLOW),
        ("plot --follow input.txt", 2, FOLLOW),
        ("plot --follow -o x.svg", 2, FOLLOW),
        ("eval --block 999", 1, "--block 999 is too long: the streams have"),
        ("eval --part test", 1, "the test split is empty: choose another --part"),
        ("sample y --argmax --temperature 1", 2, "--temperature has no effect with --argmax: omit one"),
        ("sample y --argmax --min-p 0", 2, "--min-p has no effect with --argmax: omit one"),
        ("sample y --novelty --quiet", 2, "--novelty has no effect with --quiet: omit one of them"),
        (
            "sample y --novelty --length 0",
            2,
            "--length 0 generates indefinitely, without an end to wait for: omit --novelty",
        ),
        ("sample y --num-samples 2 --length 0", 2, "without an end to wait for: omit --num-samples"),
        ("sample y --primetext a --prime-file -", 2, "--primetext and --prime-file are mutually exclusive"),
        ("sample --prime-file y", 1, "'y' does not exist: choose a text file, or use --primetext"),
        ("sample --prime-file latin.txt", 1, "'latin.txt' is not UTF-8: invalid byte at offset 3; convert"),
        ("sample --prime-file snow.txt", 1, "'☃' (U+2603) at position 5"),
        ("train --resume cv --init-from cv", 2, "--resume and --init-from are mutually exclusive"),
        ("train - a.txt", 2, "standard input (-) cannot be joined with other texts: save it to a file first"),
        ("train a.txt --data b.txt", 2, "--data and the text 'a.txt' are mutually exclusive: omit --data"),
        ("sweep a.txt --data b.txt", 2, "--data and the text 'a.txt' are mutually exclusive: omit --data"),
        ("train –foo", 2, "No such option '–foo': it starts with a typographic dash instead of hyphens"),
    ],
)
def test_user_errors(refused, words, status, message):
    if words.startswith("sweep"):
        pytest.importorskip("optuna")
    assert message in refused(*shlex.split(words), status=status)


def test_a_format_without_training_state_cannot_be_resumed_from_python(home):
    (home / "x.pt").write_bytes(b"x")
    with pytest.raises(minichar.MinicharError, match="has no training state to resume from"):
        minichar.train(resume="x.pt", progress=False)


@pytest.mark.parametrize("absolute", [False, True])
def test_the_training_text_is_missing(refused, cli, home, absolute):
    """It is a dataset, of which first the file and then the directory is deleted."""
    data = (home / "data" if absolute else Path("data")) / "tang300"
    data.mkdir(parents=True)
    (data / "input.txt").write_text(TEXT)
    cli("train", "--data", data, *TOY, "--max-epochs", 1)
    (data / "input.txt").unlink()
    assert "get it with `minichar data get tang300`" in refused("eval")
    shutil.rmtree(data)
    missing = f"was trained on {str(data)!r}, which does not exist: specify the text with --"
    for command, option in (("eval", "data"), ("train --resume", "data"), ("inspect --html x.html", "text")):
        words = f"{missing}{option}, or get it with `minichar data get tang300`"
        assert refused(*command.split()).endswith(words)


def test_a_text_with_the_name_of_a_dataset_is_missing(refused, cli, home):
    (home / "tang300").write_text(TEXT)
    cli("train", "--data", "tang300", *TOY, "--max-epochs", 1)
    (home / "tang300").unlink()
    assert refused("eval").endswith("'tang300', which does not exist: specify the text with --data")


def test_without_the_default_directory_others_are_named(refused, checkpoint, home):
    (home / "cv").rename(home / "cv-b")
    shutil.copytree("cv-b", "cv-a")
    (home / "arrays").mkdir()
    (home / "arrays" / "x.npz").touch()
    for command in ("sample", "inspect", "plot", "train --resume"):
        assert refused(*command.split()) == (
            "Error: no checkpoint in cv/: choose another directory, such as cv-a or cv-b"
        )
    (home / "cv").mkdir()
    change = "train one with `minichar train`, or change to the directory where you trained one"
    assert refused("sample") == f"Error: no checkpoint in cv/: {change}"


def test_a_directory_of_runs(refused, home):
    for trial, loss in enumerate((2.0, 1.5, 3.0)):
        path = home / "runs" / f"trial-{trial}" / f"lm_lstm_epoch1.00_{loss:.4f}.npz"
        path.parent.mkdir(parents=True)
        path.touch()
    for command in ("sample", "train --resume"):
        advice = "choose one of its subdirectories, such as runs/trial-1"
        assert refused(*command.split(), "runs") == f"Error: no checkpoint in runs/: {advice}"


def test_too_many_distinct_characters(refused, monkeypatch):
    """Neither the option in the message nor its remedy is one that train does not have."""
    monkeypatch.setattr("minichar.training.text.MAX_SIZE", 20)
    assert refused("train", "--data", "input.txt") == (
        f"Error: 'input.txt' has {len(set(TEXT))} distinct characters, but a model can have at most 20: "
        "keep only frequent characters with --min-freq"
    )
