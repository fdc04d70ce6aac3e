import re
import shlex
import signal
import sqlite3
import time
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from toys import SMALL, TEXT

from minichar.checkpoints.checkpoint import load
from minichar.checkpoints.choosing import best_checkpoint
from minichar.checkpoints.naming import loss_in_name
from minichar.cli import INTERRUPTED, sweep_report
from minichar.cli.planned import train_command
from minichar.cli.sweep_report import SweepReport
from minichar.sweep.study import Result

URL = "postgresql://me@host/name"
SEARCH = ("--search", "learning_rate=1e-3..5e-2:log", "--search", "dropout=0,0.1")
OPTIONS = ("--data", "input.txt", *SMALL, *SEARCH)


@pytest.fixture
def optuna():
    return pytest.importorskip("optuna")


def test_the_printed_command_trains_the_best_model(cli, home, optuna):
    result = cli("sweep", *OPTIONS, "--trials", 3)
    lines = result.stderr.splitlines()
    assert lines[0].startswith(
        "sweep      sweep/: up to 3 trials over learning_rate=0.001..0.05:log, dropout="
    )
    pattern = r"trial (\d) +complete (\d\.\d{4}) in \d+ s: learning_rate [\d.]+, dropout 0(\.1)?"
    losses = {m[1]: float(m[2]) for line in lines if (m := re.fullmatch(pattern, line))}
    assert [*losses] == ["0", "1", "2"]
    best = min(losses, key=losses.get)
    table = lines[lines.index("trial  validation  learning_rate  dropout") + 1 :]
    assert table[0].split()[:2] == [best, f"{losses[best]:.4f}"]
    assert f"generate   minichar sample sweep/trial-000{best} --temperature 0.8" in lines
    program, *words = shlex.split(result.stdout)
    assert program == "minichar"
    assert result.stdout.endswith(" --checkpoint-dir cv-best\n")
    again = cli(*words).stdout.strip()
    assert loss_in_name(best_checkpoint(home / "cv-best")) == losses[best], again
    assert cli("sweep", "--trials", 3).stdout == result.stdout, "all trials are already complete"


def test_the_text_can_be_standard_input(cli, home, optuna):
    words = ("sweep", "--data", "-", *OPTIONS[2:], "--trials", 1)
    assert "standard input is empty" in cli(*words, stdin="", status=1).stderr
    assert "--rnn-size is specified more" in cli(*words, "--search=rnn_size=4,8", stdin=TEXT, status=1).stderr
    assert not [*home.glob("sweep/*")], "the options are checked before the text is saved"
    result = cli(*words, stdin=TEXT)
    assert f"minichar train {home}/sweep/input.txt" in result.stdout
    assert (home / "sweep" / "input.txt").read_text(encoding="utf-8") == TEXT
    assert cli(*words, stdin=TEXT).stdout == result.stdout


def test_values_can_be_automatic(cli, home, optuna):
    words = "--data", "input.txt", "--recipe", "char-rnn", *SMALL[2:], "--max-epochs", 2
    words += "--seq-length", "Auto"
    search = "--search", "rnn_size=300", "--search", "dropout=auto,0.1"
    said = cli("sweep", *words, *search, "--trials", 1).stderr
    assert "up to 1 trial over rnn_size=300, dropout=auto,0.1\n" in said
    result = cli("sweep", "--trials", 2)
    trials = re.findall(r"^trial \d +complete .*: (rnn.*)", said + result.stderr, re.MULTILINE)
    assert trials == ["rnn_size 300, dropout auto", "rnn_size 300, dropout 0.1"]
    assert " --seq-length auto " in result.stdout
    settings = load(best_checkpoint(home / "sweep" / "trial-0000")).details["settings"]
    assert (settings["seq_length"], settings["dropout"]) == (50, 0.01), "chosen for 2 epochs"


def test_progress_and_each_note_are_shown(cli, home, optuna, terminal, monkeypatch):
    monkeypatch.setattr("minichar.cli.bar.REFRESH", 0.0)
    words = "--data", "input.txt", *SMALL[2:], "--max-epochs", 2, "--reset-on", r"\n"
    words += "--search", "rnn_size=4,8", "--trials", 2
    said = cli("sweep", *words).stderr
    assert "up to 2 trials over rnn_size=4,8\n" in said
    assert re.search(r"trial 0/2  epoch 1\.\d\d/2  loss \d\.\d{3}\r", said)
    assert re.findall("(trial . +)the state is reset at '\\\\n'", said) == ["trial 0    "]
    monkeypatch.setenv("COLUMNS", "38")
    said = cli("sweep", *words, "--sweep-dir", "narrow").stderr
    assert re.search(r"\rtrial 0/2  epoch 1\.[5-9]\d/2  loss \d\.\d{3}\r", said)


def test_options_are_spelt_as_on_the_command_line():
    options = {"use_ss": False, "reset_on": "\n\\", "savefile": "a b", "title": "\a", "rnn_size": None}
    command = train_command({**options, "learning_rate": 1e-3, "max_epochs": 1.0})
    words = ["--no-use-ss", "--reset-on", r"\n\\", "--savefile", "a b", "--title", "\a", "--rnn-size", "auto"]
    words += ["--learning-rate", "0.001", "--max-epochs", "1"]
    assert shlex.split(command) == ["minichar", "train", *words]


def test_the_trial_of_a_process_that_is_stopped_is_resumed(process, cli, home, optuna):
    child = process("sweep", *OPTIONS, "--max-epochs", 100000, "--checkpoint-every", 0.05)
    end = time.monotonic() + 600
    while not [*home.glob("sweep/trial-0000/*.npz")]:
        assert time.monotonic() < end
        assert child.poll() is None, child.communicate()
        time.sleep(0.02)
    said = cli("sweep", "--trials", 1).stderr
    assert "not final: 1 trial still running in other processes\n" in said
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=600)
    assert "Traceback" not in stderr
    assert stdout == ""
    assert child.returncode == INTERRUPTED, stderr
    assert "stopped; continue with:\n  minichar sweep --sweep-dir sweep --trials 20\nno trial has" in stderr
    result = cli("sweep", "--trials", 1, "--max-time", 1e-3)
    assert re.search(r"^trial 0 +resumed at epoch \d", result.stderr, re.MULTILINE)


def test_signals_after_the_last_trial_are_ignored(cli, home, optuna, monkeypatch):
    finish = SweepReport.finish

    def interrupted(self):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        finish(self)

    monkeypatch.setattr("minichar.cli.stopping.PATIENCE", 0.0)
    monkeypatch.setattr(SweepReport, "finish", interrupted)
    result = cli("sweep", *OPTIONS, "--trials", 1, status=INTERRUPTED)
    assert result.stdout.startswith("minichar train ")
    assert "continue with" not in result.stderr


def test_paths_that_look_like_options_are_marked_in_printed_commands(capsys, monkeypatch):
    monkeypatch.setattr(sweep_report, "results", lambda study: [Result(7, {}, 1.0)])
    sweep = SimpleNamespace(folder=Path("-s"), space=[], size=3, study=None, stopping=True, complete=False)
    sweep.directory = lambda number: Path(f"-s/trial-{number}")
    SweepReport(sweep, 9, True).finish()
    shown = capsys.readouterr().err
    assert "generate   minichar sample ./-s/trial-7 --temperature 0.8\n" in shown
    command = shlex.split(shown.splitlines()[2])
    assert command == ["minichar", "sweep", "--sweep-dir", "./-s", "--trials", "3"]


def test_the_status_is_1_if_every_trial_fails_or_the_database_is_unusable(cli, home, optuna):
    result = cli("sweep", *OPTIONS[:-4], "--search", "learning_rate=1e9,1e10", "--trials", 1, status=1)
    assert result.stdout == ""
    assert "no trial has been completed" in result.stderr
    (home / "b").mkdir()
    (home / "b" / "sweep.db").write_text("nonsense" * 99)
    error = cli("sweep", *OPTIONS, "--sweep-dir", "b", status=1).stderr
    assert "cannot use the sweep's database: " in error


def test_plot(cli, refused, home, optuna):
    """A damaged database is an error of all commands."""
    cli("sweep", *OPTIONS, "--trials", 3)
    assert refused("plot", "sweep", status=2).endswith("is a figure: add -o, for example -o sweep.svg")
    error = refused("plot", "sweep", "sweep", status=2)
    assert error == "Error: a sweep cannot be plotted together with other runs"
    cli("sweep", *OPTIONS, "--trials", 1, "--max-time", 1e-9, "--sweep-dir", "young")
    assert refused("plot", "young", "-o", "x.svg") == "Error: young/ has no completed trials to plot"
    if find_spec("matplotlib"):
        assert cli("plot", "sweep", "-o", "sweep.svg").stdout == "sweep.svg\n"
        figure = (home / "sweep.svg").read_text(encoding="utf-8")
        assert all(f">{words}</text>" in figure for words in ("learning_rate", "dropout", "validation loss"))
    with closing(sqlite3.connect(home / "sweep" / "sweep.db")) as database, database:
        database.execute("DELETE FROM trial_params WHERE param_name = 'dropout'")
    for words in (("plot", "sweep", "-o", "x.svg"), ("sweep", "--trials", 3)):
        assert "damaged: trial 0 has no value for dropout; restore a backup" in refused(*words)
