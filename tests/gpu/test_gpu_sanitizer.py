"""Tests of how ``first_hour.py`` runs compute-sanitizer, with a program that replaces it."""

import sys
from dataclasses import replace
from time import monotonic
from types import SimpleNamespace

import gpu_sanitizer
import pytest
from first_hour import DRY

WORK = replace(DRY.work, device="gpu")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Return a function that installs a shell script as compute-sanitizer."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def install(script, folder=tmp_path, mode=0o755):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "compute-sanitizer"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(mode)

    return install


def run(work=WORK, seconds=60):
    return gpu_sanitizer.sanitizer(work, monotonic() + seconds)


def test_each_tool_runs_the_kernels(program):
    program('echo "starts"; echo "========= $*: no errors"')
    assert run() == {"passed": True} | {
        tool: f"--tool {tool} --error-exitcode 9 {sys.executable} {gpu_sanitizer.__file__} gpu: no errors"
        for tool in ("memcheck", "racecheck", "synccheck")
    }


def test_an_error_of_one_tool_is_a_failure_and_all_of_its_output_is_printed(program, capsys):
    program('echo "$2"; if [ $2 = racecheck ]; then echo "1 hazard" >&2; exit 9; fi')
    found = run()
    assert (found["passed"], found["memcheck"], found["racecheck"]) == (False, "memcheck", "1 hazard")
    assert capsys.readouterr().out == "racecheck\n1 hazard\n"


def test_a_tool_is_stopped_at_the_end_of_the_time(program):
    program("exec sleep 60")
    assert run(seconds=0) == {"passed": False} | dict.fromkeys(gpu_sanitizer.TOOLS, "stopped after 0 s")


def test_the_program_of_the_package_is_used_if_there_is_no_toolkit(program, tmp_path, monkeypatch):
    """The package does not mark it as executable."""
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path / "other"), str(tmp_path / "nvidia")])
    monkeypatch.setattr(gpu_sanitizer, "find_spec", lambda name: package)
    monkeypatch.setattr(gpu_sanitizer, "TOOLKIT", str(tmp_path))
    folder = tmp_path / "nvidia" / "cuda_sanitizer_api"
    program('echo "$1 $2"', folder / "bin", 0o644)
    assert run()["memcheck"] == f"--injection-path {folder / 'lib'}"
    program("echo toolkit")
    assert run()["memcheck"] == "toolkit"


def test_without_the_program_or_a_gpu_nothing_is_run(program, monkeypatch):
    program("")
    assert run(DRY.work) == {"not run": "requires a GPU"}
    monkeypatch.setattr(gpu_sanitizer, "find", list)
    assert run() == {"not run": "compute-sanitizer is not installed"}
