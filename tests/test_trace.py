"""What a step runs through stays small (docs/measured/trace.py)."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "measured" / "trace.py"
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


def test_only_lines_of_the_package_that_run_are_counted(script):
    from minichar.training.schedules import teacher_forcing_ratio

    lines = script.trace(lambda: teacher_forcing_ratio(3, "linear", 1.0, 0.1, 0.0))
    assert script.count(lines) == (1, 1, 3)  # the test of the schedule, its ratio, and the return
