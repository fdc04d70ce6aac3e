"""Tests that ``first_hour.py`` runs without a GPU, and saves and reports its results."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
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
def path(tmp_path):
    """Path of the results, at which there are earlier results."""
    path = tmp_path / "results.json"
    path.write_text("earlier results")
    return path


def sections(monkeypatch, **replaced):
    """Replace all sections with the functions in `replaced`."""
    monkeypatch.setattr(first_hour.Plan, "sections", lambda plan, backend: replaced)


def saved(path):
    return json.loads(path.read_text("utf-8"))


def test_dry_run_measures_everything_that_a_cpu_can(path, capsys, monkeypatch):
    monkeypatch.setattr(first_hour.measurements, "first_step", lambda work: 1.0)  # starts a process
    monkeypatch.setattr("gpu_calibration.OPERATIONS", 5)
    assert main(["--dry", "--json", str(path)]) == 0
    results = saved(path)
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


def test_each_program_states_in_its_first_line_that_no_card_has_run_it():
    texts = {path.name: path.read_text("utf-8") for path in Path(__file__).parent.glob("*.py")}
    lines = {text.partition("\n")[0] for name, text in texts.items() if name.startswith(("first", "gpu"))}
    assert len(lines) == 6
    assert all(re.search(r": executed on the CPU \(cpu_cuda\), .*\bon a card\.", line) for line in lines)


def test_without_a_gpu_the_error_names_the_dry_run_and_an_existing_file_is_kept(monkeypatch, path, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["--json", str(path)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("device gpu: requires CuPy")
    assert error.endswith("; to test this script without a GPU, use --dry")
    assert path.read_text() == "earlier results"


def test_a_file_that_cannot_be_written_is_detected_before_the_first_section(monkeypatch, path, capsys):
    sections(monkeypatch, one=lambda: pytest.fail("a section has run"))
    assert main(["--dry", "--json", str(path / "x.json")]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"cannot write {path}/x.json: ")


def test_results_are_saved_after_each_section_even_if_the_run_is_killed(monkeypatch, path):
    seen, late = [], iter([False, True, False])

    def look():
        seen.append(saved(path))
        return {"x": 1}

    def killed():
        look()
        raise KeyboardInterrupt

    sections(monkeypatch, one=look, two=list, three=killed)
    monkeypatch.setattr(first_hour.Plan, "out_of_time", lambda plan: next(late))
    with pytest.raises(KeyboardInterrupt):
        main(["--dry", "--json", str(path)])
    first, third = seen
    assert "one" not in first
    assert third["one"] == {"x": 1}
    assert third["left out"] == ["two"]


def test_nothing_is_started_after_nine_minutes(monkeypatch):
    now, plans = 100.0, []
    monkeypatch.setattr(first_hour, "monotonic", lambda: now)
    monkeypatch.setattr(
        first_hour, "run", lambda plan, save: plans.append(plan) or {"failed": [], "left out": []}
    )
    for arguments in (["--dry"], ["--dry", "--device", "gpu:1"], []):
        assert main(arguments) == 0
    wanted = [DRY, replace(DRY, device="gpu:1"), first_hour.Plan()]
    assert [replace(plan, end=float("inf")) for plan in plans] == wanted
    now = 100.0 + 9 * 60 - 0.1
    assert not plans[0].out_of_time()
    now = 100.0 + 9 * 60
    assert plans[0].out_of_time()


def test_a_section_that_fails_does_not_stop_the_others(monkeypatch, path, capsys):
    def broken():
        raise ValueError("no such thing")

    def precise():
        assert first_hour.os.environ["CUPY_TF32"] == "0"
        return {"x": 0.123456, "column": {"y": (3, 6)}}

    monkeypatch.setenv("CUPY_TF32", "1")
    sections(monkeypatch, one=broken, two=lambda: {"passed": False}, three=precise, four=list)
    assert main(["--dry", "--json", str(path)]) == 1
    assert first_hour.os.environ["CUPY_TF32"] == "1"
    results = saved(path)
    assert results["failed"] == ["one", "two"]
    assert results["one"] == {"passed": False, "error": "ValueError: no such thing"}
    assert results["three"] == {"x": 0.123456, "column": {"y": [3, 6]}}
    out, err = capsys.readouterr()
    assert "Traceback" in err
    assert json.loads(out.partition("== three\n")[2].partition("\n\n")[0]) == results["three"]


def test_warnings_are_printed_and_saved_once_per_section(monkeypatch, path, capsys):
    message = "a step cannot be captured"

    def falling_back():
        for _ in range(2):
            warn(message, RuntimeWarning, stacklevel=1)
        return {"passed": True}

    sections(monkeypatch, one=falling_back, two=list, three=falling_back)
    monkeypatch.setattr(first_hour, "open_backend", lambda name: warn("an old driver", stacklevel=1))
    assert main(["--dry", "--json", str(path)]) == 0
    assert saved(path)["warnings"] == {"device": ["an old driver"], "one": [message], "three": [message]}
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["warning: an old driver", "", "== one", f"warning: {message}"]
    assert lines.count(f"warning: {message}") == 2


def without_cuda(work):
    raise AssertionError("Torch not compiled with CUDA enabled\nmore")


@pytest.mark.parametrize(
    ("describe", "rival"),
    [
        (None, f"PyTorch is not installed: {first_hour.INSTALL}"),
        (without_cuda, f"AssertionError: Torch not compiled with CUDA enabled: {first_hour.INSTALL}"),
        (lambda work: "PyTorch 2", "PyTorch 2"),
    ],
)
def test_on_a_gpu_pytorch_with_cuda_is_required(describe, rival, monkeypatch):
    module = SimpleNamespace(describe=describe)
    monkeypatch.setattr(first_hour, "opponents", lambda work: [work] if describe else [])
    monkeypatch.setattr(first_hour, "import_module", lambda name: module)
    found = first_hour.machine(CPU, replace(DRY.work, device="gpu"))
    passed = rival == "PyTorch 2"
    assert (found["passed"], found["rival"], found["device"]) == (passed, rival, CPU.describe())


def test_what_is_left_when_the_time_is_up_is_left_out(capsys):
    assert main(["--dry", "--minutes", "0"]) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"left out: {', '.join(NAMES)}\n")
    assert out.count("not measured") == 26
