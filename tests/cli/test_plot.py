import re
import sys
import xml.etree.ElementTree as ET
from io import StringIO
from itertools import islice
from pathlib import Path
from unittest.mock import Mock

import pytest
from toys import history_of, listing, parts, put_together

from minichar import load
from minichar.cli import INTERRUPTED
from minichar.cli.plot import follow
from minichar.cli.report import sample_line
from minichar.training.events import Saved
from minichar.training.recipes import settings_from
from minichar.training.start import begin

WAITING = "waiting for the first evaluation in cv/; press Ctrl-C to stop\n"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def runs(train):
    """Train twice with four evaluations each, and return the checkpoint directories."""
    folders = "a $x_1^2$ <b> 山", "two"
    for folder, rate in zip(folders, (0.01, 0.1), strict=True):
        train("--checkpoint-dir", folder, "--max-epochs", 4, "--eval-val-every", 33, "--learning-rate", rate)
    return folders


def best_of(folder):
    """Return how the best evaluation of a run is described."""
    newest = max(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
    best = min(history_of(newest), key=lambda row: row["val_loss"])
    return f"best {best['val_loss']:.4f} at epoch {best['epoch']:.2f}"


def test_text(cli, runs, home):
    """The best checkpoint's history does not include the evaluations after it was saved."""
    shown = cli("plot", *runs).stdout
    for name, mark in zip(runs, "AB", strict=True):
        assert f"{name}: validation, {best_of(home / name)} ({mark});" in shown
    assert shown.startswith("nats per character\n")
    assert re.search(r"^-  yardstick \d", shown, re.MULTILINE)
    last = next((home / "two").glob("lm_lstm_epoch4.00_*"))
    last.rename(last.with_name("lm_lstm_epoch4.00_9.0000.npz"))
    assert "epoch 4\n" in cli("plot", "two").stdout


def test_svg(cli, runs, home):
    pytest.importorskip("matplotlib")
    assert cli("plot", *runs, "-o", "loss.svg").stdout == "loss.svg\n"
    tree = ET.parse("loss.svg")
    words = " ".join(element.text or "" for element in tree.iter(f"{SVG}text"))
    expected = [f"{name}: validation, {best_of(home / name)}" for name in runs]
    expected += [*(f"{name}: training" for name in runs), "learning rate", "teacher-forcing ratio"]
    assert [label for label in expected if label not in words] == []
    before = listing(home)
    cli("plot", *runs, "-o", "loss.svg")
    assert listing(home) == before, "plotting again must give an identical file"


def test_png_of_a_run_without_validation_in_a_new_directory(cli, train, home):
    pytest.importorskip("matplotlib")
    train("--val-frac", 0, "--train-frac", 1)
    assert "a  cv: no validation loss" in cli("plot").stdout
    assert re.search(r"^     1\.00 +\d\.\d{4} +- ", cli("inspect").stdout, re.MULTILINE)
    cli("plot", "-o", "figures/loss.PNG")
    assert (home / "figures" / "loss.PNG").read_bytes().startswith(b"\x89PNG")
    assert "cannot write input.txt/loss.svg" in cli("plot", "-o", "input.txt/loss.svg", status=1).stderr


def test_without_matplotlib(refused, checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = r'a figure needs matplotlib, which is not installed: pip install "minichar\[plot\]"$'
    assert re.search(words, refused("plot", "-o", "loss.svg"))


def test_files_without_history(refused, checkpoint, toy):
    converted = "toy.npz has no history to plot; if it was converted, plot the original checkpoint"
    assert refused("plot", toy) == f"Error: {converted}"
    Path("x.pkl").write_bytes(b"x")
    assert refused("plot", "x.pkl") == "Error: x.pkl has no training history: only .npz checkpoints have one"
    header, arrays = parts(checkpoint)
    Path("young").mkdir()
    put_together("young/lm_lstm_epoch0.10_3.0000.npz", header, arrays | {"history": arrays["history"][:0]})
    for options in ((), ("--follow",)):
        message = refused("plot", *options, "young")
        assert "has not been evaluated yet; if it has stopped, resume it with `minichar train" in message


def test_runs_are_compared_by_parameters_and_minutes(cli, train, clock):
    clock.step = lambda i: 6.0
    for folder, size in (("one", 8), ("two", 16)):
        train("--checkpoint-dir", folder, "--rnn-size", size)
    cli("train", "--resume", "two", "--max-epochs", 3)
    rows = cli("plot", "one", "two").stdout.split("\n\n")[-1].splitlines()[1:]
    for row in rows:
        _, loss, parameters, minutes, name = row.split()
        model = load(name)
        assert loss == f"{model.details['val_loss']:.4f}"
        assert parameters == f"{model.parameters.size:,}"
        assert minutes == f"{model.details['run']['iteration'] / 10:.1f}"
    assert sorted(row.split()[-1] for row in rows) == ["one", "two"]


@pytest.mark.parametrize(("later", "loss"), [(0.5, 1.25), (0.5, None), (0.5, "x"), (-0.5, 1.25)])
def test_the_loss_at_a_stop_is_plotted(cli, checkpoint, later, loss):
    """It is the best one, also in a comparison. Losses before the end of the history are in the history."""
    header, arrays = parts(checkpoint)
    before, last = cli("plot", checkpoint).stdout, arrays["history"][-1, 1]
    header["details"] |= {"epoch": last + later, "val_loss": loss}
    put_together("stopped.npz", header, arrays)
    shown = cli("plot", "stopped.npz").stdout
    if later < 0 or loss != 1.25:
        assert shown.replace("stopped.npz", str(checkpoint)) == before
        return
    assert f"best 1.2500 at epoch {last + 0.5:.2f} (A)" in shown
    assert f"epoch {last + 0.5:g}\n" in shown
    assert shown.count("A") == 2
    assert re.search(
        r"^b +1\.2500 .*stopped\.npz$", cli("plot", checkpoint, "stopped.npz").stdout, re.MULTILINE
    )
    pytest.importorskip("matplotlib")
    cli("plot", "stopped.npz", "-o", "loss.svg")
    assert f"best 1.2500 at epoch {last + 0.5:.2f}" in Path("loss.svg").read_text()


def test_a_run_that_has_not_been_evaluated_is_left_out(cli, checkpoint):
    shown = cli("plot", checkpoint).stdout
    header, arrays = parts(checkpoint)
    young = "lm_lstm_epoch0.10_3.0000.npz"
    put_together(young, header, arrays | {"history": arrays["history"][:0]})
    result = cli("plot", young, checkpoint)
    assert result.stdout == shown
    reason = "its run has not been evaluated yet; if it has stopped, resume it with `minichar train --resume"
    assert result.stderr == f"left out: {young} has no history to plot: {reason} {young}`\n"


def test_losses_on_different_texts_are_not_comparable(cli, train, home):
    (home / "other.txt").write_text("another text " * 100)
    for folder in "ab":
        train("--checkpoint-dir", folder)
    note = "\nlosses on different texts are not comparable\n"
    assert note not in cli("plot", "a", "b").stdout
    cli("train", "--data", "other.txt", "--checkpoint-dir", "c", "--max-epochs", 1)
    assert cli("plot", "a", "c").stdout.endswith(note)


def test_follow_redraws_until_the_run_ends(cli, home, measure, monkeypatch):
    """Each look at the directory is followed by training up to the next checkpoint. The first is the best."""
    options = {"data": "input.txt", "rnn_size": 8, "seq_length": 8, "batch_size": 4, "max_epochs": 3}
    trainer, saved = begin(settings_from(options)).trainer, []
    measure(2.0, 3.0, 4.0)
    events = trainer.run()
    next(events)

    def sleep(seconds):
        saved.extend(islice((event for event in events if isinstance(event, Saved)), 1))

    monkeypatch.setattr("minichar.cli.plot.sleep", sleep)
    result = cli("plot", "--follow")
    before, *frames = result.stdout.split("nats per character\n")
    assert before == ""
    assert [re.search(r"epoch (\d)\n", frame)[1] for frame in frames] == ["1", "2", "3"]
    assert len(saved) == 3
    last = (model := load(saved[-1].path)).history[-1]
    assert f"a  cv: no validation loss; · training, last {last['train_loss']:.4f}\n" in frames[-1]
    assert frames[-1].endswith(f"\nsample: {sample_line(model, last['iteration'])}\n")
    assert result.stderr == f"{WAITING}no run is saving to cv/\n"


def test_follow_waits_until_a_run_saves_or_ends_or_ctrl_c(cli, home, monkeypatch):
    Path("cv").mkdir()
    sleep = Mock(side_effect=[None, None, KeyboardInterrupt])
    monkeypatch.setattr("minichar.cli.plot.sleep", sleep)
    monkeypatch.setattr("minichar.cli.plot.is_shared", lambda folder: True)
    result = cli("plot", "--follow", "cv", status=INTERRUPTED)
    assert (result.stdout, result.stderr) == ("", f"{WAITING}\nstopped\n")
    monkeypatch.setattr("minichar.cli.plot.is_shared", Mock(side_effect=[True, False]))
    sleep.side_effect = [None]
    assert cli("plot", "--follow", status=1).stderr.startswith(f"{WAITING}Error: no checkpoint in cv/")


def test_follow_without_a_run(cli, checkpoint, refused):
    result, plot = cli("plot", "--follow"), cli("plot")
    lines = plot.stdout.splitlines()
    assert result.stdout.splitlines()[-4:-1] == lines[-3:]
    assert result.stderr == "no run is saving to cv/\n"
    assert "no such checkpoint: 'nowhere'" in refused("plot", "--follow", "nowhere")


def test_a_plot_on_a_terminal_replaces_the_one_before(checkpoint, monkeypatch):
    screen = StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", screen)
    follow(Path("cv"))
    assert screen.getvalue().startswith("\x1b[2J\x1b[Hnats per character\n")
