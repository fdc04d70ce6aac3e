"""Tests that ``first_hour.py`` runs without a GPU, and saves and reports its results."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace
from warnings import warn

import first_hour
import gpu_measurements
import pytest
from first_hour import DRY, main

from minichar.devices.cpu import CPU

CHECKS = ["gradients", "losses", "graphs", "sampling", "resuming", "chunk kernel"]
NAMES = ["machine", *CHECKS, "speed", "launches", "memory"]


def sections(monkeypatch, **replaced):
    """Replace all sections with the functions in `replaced`."""
    monkeypatch.setattr(first_hour.Plan, "sections", lambda plan, backend: replaced)


def test_sizes_on_a_gpu():
    plan = first_hour.Plan()
    assert plan.sizes == (128, 256, 512, 1024)
    assert (plan.chunk, plan.steps) == (50, 50)


def test_dry_run_measures_everything_that_a_cpu_can(tmp_path, capsys):
    path = tmp_path / "first_hour.json"
    assert main(["--dry", "--json", str(path)]) == 0
    results = json.loads(path.read_text("utf-8"))
    assert list(results) == ["dry", "seconds", "failed", "left out", "warnings", *NAMES]
    assert results["dry"] is True
    assert results["failed"] == results["left out"] == []
    assert results["warnings"] == {}
    assert all(results[name]["passed"] for name in CHECKS)
    assert len(results["gradients"]["errors"]) == 6
    assert all(0 < error < 1e-12 for error in results["gradients"]["errors"].values())
    assert results["resuming"]["steps"] == [3, 6]
    works = [(row["work"]["kind"], row["work"]["model"], row["work"]["rnn_size"]) for row in results["speed"]]
    assert works == [
        *(("train", "lstm", H) for H in (8, 12)),
        *(
            ("train", "gru", 8),
            ("train", "rnn", 8),
            ("dropout", "lstm", 8),
            ("scheduled-sampling", "lstm", 8),
        ),
        *((kind, "lstm", H) for kind in ("evaluate", "sample") for H in (8, 12)),
    ]
    assert all(row["milliseconds"]["cpu"] > 0 and not row["errors"] for row in results["speed"])
    assert results["memory"]["process megabytes"] > 1
    lines = capsys.readouterr().out.splitlines()
    (row,) = (line for line in lines if line.startswith("scheduled-sampling lstm 2×8"))
    assert row.split()[-2:] == ["–", "–"]  # PyTorch's columns


def test_without_a_gpu_the_error_names_the_dry_run(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main([]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("device gpu: requires CuPy")
    assert error.endswith("; to test this script without a GPU, use --dry")


def test_a_file_that_cannot_be_written_is_detected_before_the_first_section(monkeypatch, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("mine")
    sections(monkeypatch, one=lambda: pytest.fail("a section has run"))
    assert main(["--dry", "--json", str(file / "x.json")]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"cannot write {file}/x.json: ")


def test_without_a_gpu_an_existing_file_is_not_replaced(monkeypatch, tmp_path):
    path = tmp_path / "results.json"
    path.write_text("earlier results")
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["--json", str(path)]) == 1
    assert path.read_text() == "earlier results"


def test_results_are_saved_after_each_section_even_if_the_run_is_killed(monkeypatch, tmp_path):
    path, saved = tmp_path / "results.json", []
    late = iter([False, True, False])

    def look():
        saved.append(json.loads(path.read_text("utf-8")))
        return {"x": 1}

    def killed():
        look()
        raise KeyboardInterrupt

    sections(monkeypatch, one=look, two=list, three=killed)
    monkeypatch.setattr(first_hour.Plan, "out_of_time", lambda plan: next(late))
    with pytest.raises(KeyboardInterrupt):
        main(["--dry", "--json", str(path)])
    first, third = saved
    assert "one" not in first
    assert third["one"] == {"x": 1}
    assert third["left out"] == ["two"]


def test_the_results_are_replaced_atomically(monkeypatch, tmp_path):
    path = tmp_path / "results.json"
    path.write_text("earlier results")

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    sections(monkeypatch, one=list)
    monkeypatch.setattr("minichar.files.os.fsync", full)
    assert main(["--dry", "--json", str(path)]) == 1
    assert path.read_text() == "earlier results"


def test_nothing_is_started_after_nine_minutes(monkeypatch):
    now, plans = 100.0, []
    monkeypatch.setattr(first_hour, "monotonic", lambda: now)
    monkeypatch.setattr(
        first_hour, "run", lambda plan, save: plans.append(plan) or {"failed": [], "left out": []}
    )
    assert main(["--dry"]) == 0
    now = 100.0 + 9 * 60 - 0.1
    assert not plans[0].out_of_time()
    now = 100.0 + 9 * 60
    assert plans[0].out_of_time()


def test_a_section_that_fails_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    def broken():
        raise ValueError("no such thing")

    path = tmp_path / "results.json"
    sections(monkeypatch, one=broken, two=lambda: {"passed": False}, three=lambda: {"x": 1}, four=list)
    assert main(["--dry", "--json", str(path)]) == 1
    results = json.loads(path.read_text("utf-8"))
    assert results["failed"] == ["one", "two"]
    assert results["one"] == {"passed": False, "error": "ValueError: no such thing"}
    assert results["three"] == {"x": 1}
    assert "Traceback" in capsys.readouterr().err


def test_warnings_are_printed_and_saved_once_per_section(monkeypatch, tmp_path, capsys):
    def falling_back():
        for _ in range(2):
            warn("cuBLAS cannot be used", RuntimeWarning, stacklevel=1)
        return {"passed": True}

    path = tmp_path / "results.json"
    sections(monkeypatch, one=falling_back, two=list, three=falling_back)
    monkeypatch.setattr(first_hour, "open_backend", lambda name: warn("an old driver", stacklevel=1))
    assert main(["--dry", "--json", str(path)]) == 0
    message = "cuBLAS cannot be used"
    assert json.loads(path.read_text("utf-8"))["warnings"] == {
        "device": ["an old driver"],
        "one": [message],
        "three": [message],
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["warning: an old driver", "", "== one", f"warning: {message}"]
    assert lines.count(f"warning: {message}") == 2


def without_cuda(work):
    raise AssertionError("Torch not compiled with CUDA enabled\nmore")


@pytest.mark.parametrize(
    ("describe", "passed", "rival"),
    [
        (None, False, f"PyTorch is not installed: {first_hour.INSTALL}"),
        (
            without_cuda,
            False,
            f"AssertionError: Torch not compiled with CUDA enabled: {first_hour.INSTALL}",
        ),
        (lambda work: "PyTorch 2", True, "PyTorch 2"),
    ],
)
def test_on_a_gpu_pytorch_with_cuda_is_required(describe, passed, rival, monkeypatch):
    module = SimpleNamespace(describe=describe)
    monkeypatch.setattr(first_hour, "opponents", lambda work: [work if describe else None])
    monkeypatch.setattr(first_hour, "import_module", lambda name: module)
    found = first_hour.machine(CPU, replace(DRY.work, device="gpu"))
    assert (found["passed"], found["rival"], found["device"]) == (passed, rival, CPU.describe())


def test_without_pytorch_the_launches_are_not_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "torch.profiler", None)
    found = gpu_measurements.launches(replace(DRY.work, device="gpu"))
    assert found == {"not measured": "requires PyTorch"}


def test_what_is_left_when_the_time_is_up_is_left_out(capsys):
    assert main(["--dry", "--minutes", "0"]) == 0
    assert capsys.readouterr().out.endswith(f"left out: {', '.join(NAMES)}\n")


def test_full_precision_applies_to_the_sections_only(monkeypatch):
    seen = {}
    monkeypatch.setenv("CUPY_TF32", "1")
    sections(monkeypatch, one=lambda: seen.update(first_hour.os.environ) or {})
    assert main(["--dry"]) == 0
    assert seen["CUPY_TF32"] == "0"
    assert first_hour.os.environ["CUPY_TF32"] == "1"
