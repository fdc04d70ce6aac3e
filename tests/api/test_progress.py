import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from api_helpers import TOY, train
from toys import TEXT

import minichar
from minichar.api import progress as progress_module
from minichar.training.events import Step, Warned
from minichar.training.trainer import Trainer

LINE = r"epoch (\d\.\d\d)/3  loss \d\.\d{3}(  validation \d\.\d{3})?  [\d,]+ characters/s  \d+:\d\d:\d\d left"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that replaces standard error with a terminal on which each step is shown."""
    monkeypatch.setattr(progress_module, "REFRESH", 0.0)

    def terminal(stream=Terminal, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stderr", stream())

    return terminal


class Notebook(io.StringIO):
    """Stream with the name of the one that Jupyter's Python kernel uses, which is not a terminal."""


Notebook.__module__ = "ipykernel.iostream"


def test_progress_without_a_terminal_prints_one_line_per_evaluation(text, monkeypatch, capfd):
    monkeypatch.setattr(progress_module, "INTERVAL", float("inf"))
    train(text)
    assert capfd.readouterr() == ("", "")
    model = minichar.train(text, eval_val_every=20, **TOY | {"max_epochs": 3})
    printed = capfd.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert [re.fullmatch(LINE, line)[1] for line in lines][-1] == "3.00"
    assert len(lines) == len(model.history) > 2
    assert "validation" in lines[0]
    assert lines[-1].endswith(" 0:00:00 left")


def test_progress_on_a_terminal_rewrites_one_line(text, terminal):
    terminal()
    model = minichar.train(text, **TOY | {"max_epochs": 3})
    printed = sys.stderr.getvalue()
    assert printed.count("\n") == 1
    assert printed.endswith("\n")
    states = printed.strip("\r\n").split("\r")
    assert len(states) == model.history[-1]["iteration"] + 1  # one per step and one for the evaluation
    assert all(re.fullmatch(LINE, state.rstrip()) for state in states)
    assert {len(state) for state in states} == {79}


def test_progress_in_a_notebook_updates_one_output(text, terminal, monkeypatch):
    """Standard error would be shown in red, and a saved notebook would contain every state of the line."""
    terminal(Notebook)
    states, outputs = [], []

    class Output:
        def update(self, data, raw):
            states.append(data["text/plain"])
            assert raw

    def display(data, display_id, **options):
        assert display_id
        outputs.append(Output())
        outputs[-1].update(data, **options)
        return outputs[-1]

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    model = minichar.train(text, **TOY | {"max_epochs": 3})
    assert len(outputs) == 1
    assert sys.stderr.getvalue() == ""
    assert len(states) == model.history[-1]["iteration"] + 1  # one per step and one for the evaluation
    assert all(re.fullmatch(LINE, state) for state in states)


@pytest.mark.parametrize(("columns", "last"), [(20, "epoch 3.00/3"), (1, "")])
def test_progress_fits_a_narrow_terminal(text, terminal, columns, last):
    terminal(columns=columns)
    minichar.train(text, **TOY | {"max_epochs": 3})
    _, *states = sys.stderr.getvalue().removesuffix("\n").split("\r")
    assert states[-1].rstrip() == last
    assert {len(state) for state in states} == {columns - 1}


def test_speed_and_remaining_time_exclude_the_resumed_run(monkeypatch, capfd):
    """Resume at chunk 10 of 200. The next 40 chunks of 24 characters take 20 s."""
    clock = iter([100.0, 120.0, 120.0, 120.0])
    monkeypatch.setattr(progress_module, "monotonic", lambda: next(clock))
    trainer = SimpleNamespace(
        iteration=10, iterations=200, split=SimpleNamespace(T=6, B=4), settings=SimpleNamespace(max_epochs=9)
    )
    progress = progress_module.Progress(SimpleNamespace(trainer=trainer, notes=()))
    trainer.iteration = 50
    progress.show(Step(50, 2.25, np.float32(1.5), float))
    assert capfd.readouterr().err == "epoch 2.25/9  loss 1.500  48 characters/s  0:01:15 left\n"
    trainer.iterations = 10**400  # a run without end
    progress.write(0.5, 1.5)
    assert capfd.readouterr().err.endswith(" left\n")


def test_progress_line_is_ended_if_training_fails(text, terminal):
    terminal()
    with pytest.raises(minichar.MinicharError, match="training failed"):
        minichar.train(text, **TOY | {"learning_rate": 1e6, "grad_clip": 0.0})
    assert sys.stderr.getvalue().endswith("\n")


def test_progress_prints_notes_about_the_text_first(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_bytes(TEXT.replace("\n", "\r\n").encode())
    minichar.train("input.txt", **TOY)
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert "CR LF" in notes[0]


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_progress_says_why_training_ended_early(text, terminal, stream):
    terminal(stream)
    minichar.train(text, max_time=1e-9, **TOY)
    *_, last = sys.stderr.getvalue().splitlines()
    assert last == "ended early: reached the time limit of 1e-09 minutes"


def test_progress_prints_warnings_of_the_run(text, terminal, monkeypatch):
    terminal()
    warned = iter([Warned("the cores are busy")])
    monkeypatch.setattr(Trainer, "_extend", lambda trainer: warned)  # after the last step
    minichar.train(text, **TOY)
    assert "\nwarning: the cores are busy\n" in sys.stderr.getvalue()
