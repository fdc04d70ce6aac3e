import re
import sys
import xml.etree.ElementTree as ET
from io import StringIO
from itertools import islice
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from toys import history_of, listing, parts, put_together

from minichar import load
from minichar.cli import INTERRUPTED
from minichar.cli.follow import START, cut, draw
from minichar.training.events import Saved
from minichar.training.recipes import settings_from
from minichar.training.start import begin

FRAMES = re.compile(
    r"^cv: epoch (\S+), .*, (\S+) parameters\n· training .*\n(?:- yardstick .*\n)?sample: (.*)$", re.MULTILINE
)
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


def test_other_runs_in_a_directory_are_mentioned(cli, train, home):
    train()
    assert cli("plot").stderr == ""
    (first,) = (home / "cv").glob("*.npz")
    train("--seed", 2)
    said = "cv/ also contains {}; to compare: minichar plot cv cv/{}\n"
    assert cli("plot").stderr == said.format("another run", first.name)
    (second,) = {*(home / "cv").glob("*.npz")} - {first}
    assert cli("plot", "cv", second).stderr == cli("plot", second).stderr == ""
    train("--seed", 3)
    assert cli("plot").stderr == said.format("2 other runs", second.name)


def test_a_run_that_has_not_been_evaluated_is_left_out(cli, train, home):
    train("--checkpoint-dir", "a")
    shown = cli("plot", "a").stdout
    header, arrays = parts(best := next((home / "a").glob("*.npz")))
    header["details"]["run"] |= {"id": "young", "saved": header["details"]["run"]["saved"] + 1}
    young = "a/lm_lstm_epoch0.10_3.0000.npz"
    put_together(young, header, arrays | {"history": arrays["history"][:0]})
    note = (
        f"left out: {young} has no history to plot: its run has not been evaluated yet; if it has stopped, "
    )
    for given in ((), (best, young)):
        result = cli("plot", *given or ["a"])
        assert result.stdout.replace(str(best), "a") == shown
        assert result.stderr == f"{note}resume it with `minichar train --resume {young}`\n"


def test_losses_on_different_texts_are_not_comparable(cli, train, home):
    (home / "other.txt").write_text("another text " * 100)
    for folder in "ab":
        train("--checkpoint-dir", folder)
    note = "\nlosses on different texts are not comparable\n"
    assert note not in cli("plot", "a", "b").stdout
    cli("train", "--data", "other.txt", "--checkpoint-dir", "c", "--max-epochs", 1)
    assert cli("plot", "a", "c").stdout.endswith(note)


@pytest.mark.parametrize("in_progress", [False, True])
def test_follow_redraws_until_the_run_ends(cli, home, measure, monkeypatch, in_progress):
    """Each look at the directory is followed by training up to the next checkpoint. The first is the best."""
    options = {"data": "input.txt", "rnn_size": 8, "seq_length": 8, "batch_size": 4, "max_epochs": 3}
    trainer, saved = begin(settings_from(options)).trainer, []
    measure(2.0, 3.0, 4.0)
    monkeypatch.setenv("COLUMNS", "60")

    def start():
        yield from trainer.run()  # even the call would prepare the directory

    events = start()
    if in_progress:
        next(events)

    def sleep(seconds):
        saved.extend(islice((event for event in events if isinstance(event, Saved)), 1))

    monkeypatch.setattr("minichar.cli.follow.sleep", sleep)
    result = cli("plot", "--follow")
    assert result.stdout.startswith("nats per character\n")
    frames = FRAMES.findall(result.stdout)
    assert [epoch for epoch, *_ in frames] == ["1.00", "2.00", "3.00"]
    assert len(saved) == 3
    model = load(saved[-1].path)
    assert frames[-1][1] == f"{model.parameters.size:,}"
    text = model.generate(length=60, seed=model.history[-1]["iteration"])
    assert f"sample: {text}".replace("\n", " / ")[:59] == f"sample: {frames[-1][2]}"
    waiting = WAITING if in_progress else WAITING.replace(";", " (which does not exist yet);")
    assert result.stderr == f"{waiting}the run in cv/ has ended\n"
    assert max(map(len, result.stdout.splitlines())) == 59


def test_follow_waits_until_a_run_saves_or_ends_or_ctrl_c(cli, home, monkeypatch):
    Path("cv").mkdir()
    sleep = Mock(side_effect=[None] * 2 * START + [KeyboardInterrupt])
    monkeypatch.setattr("minichar.cli.follow.sleep", sleep)
    monkeypatch.setattr("minichar.cli.follow.is_shared", lambda folder: True)
    result = cli("plot", "--follow", "cv", status=INTERRUPTED)
    assert (result.stdout, result.stderr) == ("", WAITING)
    monkeypatch.setattr("minichar.cli.follow.is_shared", Mock(side_effect=[True, False]))
    sleep.side_effect = [None]
    assert "no checkpoint in cv/" in cli("plot", "--follow", "cv", status=1).stderr


def test_follow_without_a_run(cli, checkpoint, monkeypatch):
    monkeypatch.setattr("minichar.cli.follow.sleep", sleep := Mock(side_effect=[None] * START))
    result = cli("plot", "--follow")
    assert FRAMES.search(result.stdout)
    losses = r"^· training \d\.\d{4}, a validation \d\.\d{4}, A best \d\.\d{4}\n- yardstick \d\.\d{3} "
    assert re.search(losses, result.stdout, re.MULTILINE)
    assert result.stderr == "no run is saving to cv/\n"
    assert sleep.call_count == 0
    said = cli("plot", "--follow", "nowhere", status=1).stderr
    assert said.startswith("waiting for the first evaluation in nowhere/ (which does not exist yet); press")
    assert "Error: no such checkpoint: 'nowhere'" in said
    Path("empty").mkdir()
    sleep.reset_mock()
    sleep.side_effect = [None] * START
    assert "does not exist" not in cli("plot", "--follow", "empty", status=1).stderr
    assert sleep.call_count == START


def test_follow_after_a_time_limit_that_left_no_time_for_the_last_evaluation(cli, train, home):
    train("--eval-val-every", 16)
    path = max((home / "cv").glob("*.npz"), key=lambda path: len(history_of(path)))
    header, arrays = parts(path)
    history = arrays["history"].copy()
    history[-1, 3:9] = np.nan
    put_together(path, header, arrays | {"history": history})
    losses = rf"^· training \d\.\d{{4}}, A best {np.nanmin(history[:, 3]):.4f}$"
    assert re.search(losses, cli("plot", "--follow").stdout, re.MULTILINE)


def test_a_plot_on_a_terminal_replaces_the_one_before(monkeypatch):
    screen = StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", screen)
    draw(["a", "b"], 0)
    draw(["c"], 2)
    assert screen.getvalue() == "a\nb\n\x1b[2A\x1b[Jc\n"


def test_lines_are_cut_at_the_width_of_the_terminal():
    assert [cut("a山b", width) for width in range(5)] == ["", "a", "a", "a山", "a山b"]
