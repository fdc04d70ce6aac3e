import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from toys import history_of, listing, parts, put_together

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def runs(train):
    """Train twice with four evaluations each, and return the checkpoint directories."""
    for folder, rate in (("one", 0.01), ("two", 0.1)):
        train("--checkpoint-dir", folder, "--max-epochs", 4, "--eval-val-every", 33, "--learning-rate", rate)
    return "one", "two"


def history(folder):
    paths = folder.glob("*.npz")
    return history_of(max(paths, key=lambda path: path.stat().st_mtime))


def test_text(cli, runs, home):
    shown = cli("plot", *runs).stdout
    for name, mark in zip(runs, "AB", strict=True):
        val = {row["epoch"]: row["val_loss"] for row in history(home / name)}
        epoch = min(val, key=val.get)
        assert f"{name}: validation, best {val[epoch]:.4f} at epoch {epoch:.2f} ({mark});" in shown
    assert shown.startswith("nats per character\n")


def test_directory_uses_the_checkpoint_with_the_longest_history(cli, runs, home):
    """The best checkpoint's history does not include the evaluations after it was saved."""
    last = next((home / "two").glob("lm_lstm_epoch4.00_*"))
    last.rename(last.with_name("lm_lstm_epoch4.00_9.0000.npz"))
    assert "epoch 4\n" in cli("plot", "two").stdout


def test_default_directory_is_cv(cli, checkpoint):
    assert re.search(r"^a  cv: validation(?s:.*)^-  yardstick \d", cli("plot").stdout, re.M)


def test_run_without_validation(cli, train):
    train("--val-frac", 0, "--train-frac", 1)
    assert "no validation loss" in cli("plot").stdout


def test_svg(cli, runs, home):
    pytest.importorskip("matplotlib")
    assert cli("plot", *runs, "-o", "loss.svg").stdout == "loss.svg\n"
    tree = ET.parse("loss.svg")
    words = " ".join(element.text or "" for element in tree.iter(f"{SVG}text"))
    for name in runs:
        val = {row["epoch"]: row["val_loss"] for row in history(home / name)}
        epoch = min(val, key=val.get)
        assert f"{name}: validation, best {val[epoch]:.4f} at epoch {epoch:.2f}" in words
        assert f"{name}: training" in words
    assert "learning rate" in words
    assert "teacher-forcing ratio" in words
    assert sum(element.get("id") == "best" for element in tree.iter(f"{SVG}g")) == 2
    before = listing(home)
    cli("plot", *runs, "-o", "loss.svg")
    assert listing(home) == before, "plotting again must give an identical file"


def test_png_in_a_new_directory(cli, train, home):
    pytest.importorskip("matplotlib")
    train("--val-frac", 0, "--train-frac", 1)
    cli("plot", "-o", "figures/loss.PNG")
    assert (home / "figures" / "loss.PNG").read_bytes().startswith(b"\x89PNG")
    assert "cannot write input.txt/loss.svg" in cli("plot", "-o", "input.txt/loss.svg", status=1).stderr


def test_names_are_drawn_verbatim(cli, train, home):
    pytest.importorskip("matplotlib")
    train("--checkpoint-dir", "a $x_1^2$ <b> 山")
    cli("plot", "a $x_1^2$ <b> 山", "-o", "loss.svg")
    assert "a $x_1^2$ <b> 山: training" in "".join(ET.parse("loss.svg").getroot().itertext())
    cli("plot", "a $x_1^2$ <b> 山", "-o", "loss.png")


def test_without_matplotlib(cli, checkpoint, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    before = listing(home)
    result = cli("plot", "-o", "loss.svg", status=1)
    assert re.fullmatch(
        r'Error: a figure needs a package that cannot be imported \(.*\): pip install "matplotlib>=\S+"\n',
        result.stderr,
    )
    assert listing(home) == before
    assert "nats per character" in cli("plot").stdout


def test_a_figure_among_the_checkpoints_suggests_the_option(cli, checkpoint):
    error = cli("plot", "cv", "my loss.SVG", status=2).stderr.splitlines()[-1]
    assert error == "Error: 'my loss.SVG' is not a checkpoint: to save the plot, use -o 'my loss.SVG'"


@pytest.mark.parametrize("name", ["loss.pdf", "loss", "loss.svg.gz"])
def test_unsupported_formats(cli, checkpoint, name):
    assert (
        f"cannot plot to {name}: its name must end in .svg or .png"
        in cli("plot", "-o", name, status=1).stderr
    )


def test_too_many_runs(cli, checkpoint):
    assert "at most 26 runs" in cli("plot", *[checkpoint] * 27, status=2).stderr
    cli("plot", *[checkpoint] * 26)


def test_files_without_history(cli, checkpoint, toy):
    error = cli("plot", toy, status=1).stderr
    assert "toy.npz has no history to plot; if it was converted, plot the original checkpoint" in error
    header, arrays = parts(checkpoint)
    put_together("young.npz", header, arrays | {"history": arrays["history"][:0]})
    assert "stopped before the first evaluation" in cli("plot", "young.npz", status=1).stderr
    for name in ("x.pt", "x.pkl"):
        assert f"no such checkpoint: {name!r}" in cli("plot", name, status=1).stderr
        Path(name).write_bytes(b"x")
        error = cli("plot", name, status=1).stderr
        assert error == f"Error: {name} has no training history: only .npz checkpoints have one\n"
