"""What a step runs through stays small (docs/measured/trace.py)."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = DOCS / "measured" / "trace.py"
MOST = {
    "a training step": (12, 52, 205),
    "a generated character": (12, 30, 100),
    "an evaluation of two chunks": (12, 40, 125),
}
"""Numbers of files, functions and lines."""


@pytest.fixture(scope="module")
def script():
    spec = spec_from_file_location("trace_of_a_step", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def traced(script, tmp_path_factory):
    units = script.units(tmp_path_factory.mktemp("cv"))
    return {title: script.count(script.trace(unit)) for title, unit in units.items()}


@pytest.mark.parametrize("title", MOST)
def test_what_runs_is_not_more_than_before(title, traced):
    assert all(n <= most for n, most in zip(traced[title], MOST[title], strict=True)), traced[title]


def test_the_documented_call_tree_is_what_runs(script, tmp_path):
    step, calls = script.units(tmp_path)["a training step"], []
    step()

    def called(frame, event, argument):
        name = frame.f_code.co_qualname
        stem = Path(frame.f_code.co_filename).stem
        name = f"{stem}.{name}" if stem == "lstm" else name
        stack = [frame]
        while stack[-1].f_back:
            stack.append(stack[-1].f_back)
        calls.append((name, {above.f_code.co_qualname for above in stack[1:]}))

    before = sys.gettrace()
    sys.settrace(called)
    try:
        step()
    finally:
        sys.settrace(before)

    block = (DOCS / "source.md").read_text(encoding="utf-8").split("```text\n")[2].partition("```")[0]
    tree = re.findall(r"^( *)(?:(for .*:)|((?:\w+\.)?\w+)(?=  |$))", block, re.MULTILINE)
    names = {name for *_, name in tree}
    path, last = [], -1  # the functions and loops above, with their depths; the last call found
    for indent, loop, name in tree:
        path = [(depth, other) for depth, other in path if depth < len(indent)]
        above = {other for _, other in path if other}
        path.append((len(indent), name))
        if not loop:
            found = [k for k, (other, stack) in enumerate(calls) if (other, stack & names) == (name, above)]
            later = [k for k in found if k > last]
            assert later, name
            last = later[0]
    assert last > 0


def test_only_lines_of_the_package_that_run_are_counted(script):
    from minichar.training.schedules import teacher_forcing_ratio

    lines = script.trace(lambda: teacher_forcing_ratio(3, "linear", 1.0, 0.1, 0.0))
    assert script.count(lines) == (1, 1, 3)  # the test of the schedule, its ratio, and the return
