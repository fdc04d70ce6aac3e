"""Tests that ``first_hour.py`` runs without a GPU, and saves and reports its results."""

import json
from dataclasses import replace
from types import SimpleNamespace
from warnings import warn

import first_hour
import pytest
from bench_work import Work
from first_hour import DRY, main
from gpu_measurements import title

from minichar.devices.cpu import CPU

CHECKS = [
    *("gradients", "losses", "losses of a large network", "graphs"),
    *("sampling", "resuming", "chunk kernel"),
]
NAMES = [
    *("machine", "first step", *CHECKS, "calibration", "speed"),
    *("sanitizer", "memory", "TF32", "other speeds"),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that replaces all sections, and runs the script with the options `words`.

    It returns the exit status and the saved results.
    """

    def run(*words, **sections):
        monkeypatch.setattr(first_hour.Plan, "sections", lambda plan, backend: sections)
        status = main(["--dry", "--json", str(tmp_path / "results.json"), *words])
        return status, json.loads((tmp_path / "results.json").read_text("utf-8"))

    return run


def test_dry_run_measures_everything_that_a_cpu_can(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(first_hour.measurements, "first_step", lambda work: 1.0)  # starts a process
    monkeypatch.setattr("gpu_measurements.OPERATIONS", 5)
    assert main(["--dry", "--json", str(tmp_path / "results.json")]) == 0
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert list(results) == ["dry", "seconds", "failed", "left out", "warnings", *NAMES, "verdict"]
    assert results["dry"] is True
    assert results["failed"] == results["left out"] == []
    assert results["warnings"] == {}
    assert all(results[name]["passed"] for name in CHECKS)
    assert len(results["gradients"]["errors"]) == 6
    assert all(0 < error < 1e-12 for error in results["gradients"]["errors"].values())
    assert results["resuming"]["steps"] == [3, 6]
    rows = [*results["speed"], *results["other speeds"]]
    assert len({title(Work(**row["work"])) for row in rows}) == 3 + 12
    assert all(row["milliseconds"]["cpu"] > 0 and not row["errors"] for row in rows)
    assert [*results["calibration"]["microseconds"]] == [
        *(f"{operation}, H = {H}" for H in (8, 10, 12) for operation in ("matrix product", "fused kernel")),
        *("launch of a graph", "launch of a kernel without a graph", "host time per chunk"),
    ]
    assert all(seconds > 0 for seconds in results["first step"]["seconds"].values())
    assert results["losses of a large network"]["largest difference"] == {"lstm": 0.0}
    assert results["memory"]["process megabytes"] > 1
    assert (results["memory"]["H"], results["TF32"]["H"]) == (12, 10)
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("scheduled-sampling lstm 2×8: cpu ") for line in lines) == 1
    (row,) = (line for line in lines if line.startswith("launch of a graph   "))
    assert row.endswith("  not compared")
    assert {one["verdict"] for one in results["verdict"]} == {"not measured", "not compared"}


def test_a_file_that_cannot_be_written_is_detected_before_the_first_section(run, tmp_path, capsys):
    (tmp_path / "results.json").mkdir()
    with pytest.raises(IsADirectoryError):
        run(one=lambda: pytest.fail("a section has run"))
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"cannot write {tmp_path}/results.json: ")


def test_results_are_saved_after_each_section_even_if_the_run_is_killed(run, tmp_path):
    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(one=lambda: {"x": 1}, two=killed)
    assert json.loads((tmp_path / "results.json").read_text("utf-8"))["one"] == {"x": 1}


def test_a_section_that_fails_or_warns_does_not_stop_the_others(run, capsys, monkeypatch):
    """A warning is printed and saved once per section."""
    message = "a step cannot be captured"

    def broken():
        raise ValueError("no such thing")

    def falling_back():
        assert first_hour.os.environ["CUPY_TF32"] == "0"
        for _ in range(2):
            warn(message, RuntimeWarning, stacklevel=1)
        return {"x": 0.123456, "column": {"y": (3, 6)}}

    monkeypatch.setenv("CUPY_TF32", "1")
    monkeypatch.setattr(first_hour, "open_backend", lambda name: warn("an old driver", stacklevel=1))
    sections = {"one": falling_back, "two": broken, "three": lambda: {"passed": False}, "four": falling_back}
    status, results = run(**sections)
    assert (status, results["failed"]) == (1, ["two", "three"])
    assert results["two"] == {"passed": False, "error": "ValueError: no such thing"}
    assert results["four"] == {"x": 0.123456, "column": {"y": [3, 6]}}
    assert results["warnings"] == {"device": ["an old driver"], "one": [message], "four": [message]}
    out, err = capsys.readouterr()
    assert "Traceback" in err
    lines = out.splitlines()
    assert lines[:4] == ["warning: an old driver", "", "== one", f"warning: {message}"]
    assert lines.count(f"warning: {message}") == 2


def without_cuda(work):
    raise AssertionError("Torch not compiled with CUDA enabled\nmore")


@pytest.mark.parametrize(
    ("describe", "rival"),
    [
        (without_cuda, f"AssertionError: Torch not compiled with CUDA enabled: {first_hour.INSTALL}"),
        (lambda work: "PyTorch 2", "PyTorch 2"),
    ],
)
def test_on_a_gpu_pytorch_with_cuda_is_required(describe, rival, monkeypatch):
    monkeypatch.setattr(first_hour, "opponents", lambda work: [work])
    monkeypatch.setattr(first_hour, "import_module", lambda name: SimpleNamespace(describe=describe))
    found = first_hour.machine(CPU, replace(DRY.work, device="gpu"))
    assert (found["passed"], found["rival"]) == (rival == "PyTorch 2", rival)


def test_nothing_is_started_when_the_time_is_up(run, capsys):
    status, results = run("--minutes", "0", one=list, two=list)
    assert (status, results["left out"]) == (0, ["one", "two"])
    out = capsys.readouterr().out
    assert out.endswith("left out: one, two\n")
    assert out.count("not measured") == 26
