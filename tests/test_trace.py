"""What a step runs through stays small (docs/measured/trace.py)."""

import re
from pathlib import Path

import pytest
from measured.trace import count, run_with, trace, units

from minichar.training.schedules import teacher_forcing_ratio
from minichar.training.settings import Settings
from minichar.training.start import begin

DOCS = Path(__file__).parents[1] / "docs"
MOST = {
    "a training step": (13, 51, 205),
    "a generated character": (12, 28, 99),
    "an evaluation of two chunks": (12, 38, 121),
}
"""Numbers of files, functions and lines."""


def test_what_runs_is_not_more_than_before(tmp_path):
    for title, unit in units(tmp_path).items():
        found = count(trace(unit))
        assert all(n <= most for n, most in zip(found, MOST[title], strict=True)), (title, found)


def calls_of(unit, names):
    """Call `unit`. Return the calls of functions in `names`, in order, each with its callers in `names`."""
    calls = []

    def called(frame, event, argument):
        cell = "lstm." * frame.f_code.co_filename.endswith("lstm.py")
        name, callers = cell + frame.f_code.co_qualname, set()
        while name in names and (frame := frame.f_back):
            callers.add(frame.f_code.co_qualname)
        calls.append((name, callers & names))

    run_with(called, unit)
    return calls


@pytest.fixture
def steps(tmp_path):
    (tmp_path / "input.txt").write_text("abcdefgh" * 200, encoding="utf-8")
    return {
        "begin": lambda: begin(Settings(data=tmp_path / "input.txt", checkpoint_dir=tmp_path / "cv")),
        "Trainer.set_rates": units(tmp_path)["a training step"],
    }


@pytest.mark.parametrize("first", ["begin", "Trainer.set_rates"])
def test_the_documented_call_trees_are_what_runs(first, steps):
    text = (DOCS / "source.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^```text\n({first}\b.*?)```", text, re.MULTILINE | re.DOTALL)
    tree = re.findall(r"^( *)(?:(for .*:)|((?:\w+\.)?\w+)(?=  |$))", block, re.MULTILINE)
    names = {name for *_, name in tree}
    calls = calls_of(steps[first], names)
    path, last = [], -1  # the functions and loops above, with their depths; the last call found
    for indent, loop, name in tree:
        path = [(depth, other) for depth, other in path if depth < len(indent)]
        above = {other for _, other in path if other}
        path.append((len(indent), name))
        if not loop:
            found = [k for k, call in enumerate(calls) if call == (name, above)]
            later = [k for k in found if k > last]
            assert later, name
            last = later[0]


def test_only_lines_of_the_package_that_run_are_counted():
    lines = trace(lambda: teacher_forcing_ratio(3, "linear", 1.0, 0.1, 0.0))
    assert count(lines) == (1, 1, 3)  # the test of the schedule, its ratio, and the return
