"""``first_hour.py`` runs to its end, so that none of its lines is first executed on a card."""

import json
from dataclasses import replace

import bench_minichar
import first_hour
import gpu_measurements
import gpu_verdict
import pytest
from bench_work import Work

from minichar.devices import graph

CHECKS = {"gradients", "losses", "graphs", "sampling", "resuming", "chunk kernel"}
"""The sections that test_checks.py runs."""
SIZES = (64, 10, 12)
"""The first size has a chunk kernel."""


@pytest.fixture
def others(monkeypatch):
    """Leave out the sections that other tests run, and do without PyTorch."""
    sections = first_hour.Plan.sections
    monkeypatch.setattr(
        first_hour.Plan,
        "sections",
        lambda plan, backend: {
            name: run for name, run in sections(plan, backend).items() if name not in CHECKS
        },
    )
    monkeypatch.setattr(first_hour, "opponents", lambda work: [replace(work, engine="pytorch")])
    monkeypatch.setattr("bench_pytorch.describe", lambda work: "PyTorch")
    monkeypatch.setattr(first_hour, "DRY", replace(first_hour.DRY, sizes=SIZES))
    monkeypatch.setattr(bench_minichar, "PIECE", 5)


@pytest.fixture
def compute_sanitizer(tmp_path, monkeypatch):
    """Install a program that runs its arguments as compute-sanitizer does."""
    path = tmp_path / "compute-sanitizer"
    path.write_text('#!/bin/sh\ntool=$2; shift 4; "$@" && echo "========= $tool: 0 errors"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("others", "new_processes", "compute_sanitizer")
def test_all_sections_on_a_gpu(tmp_path, capfd):
    path = tmp_path / "results.json"
    status = first_hour.main(["--dry", "--device", "gpu", "--json", str(path)])
    results = json.loads(path.read_text("utf-8"))
    assert (results["failed"], results["left out"], results["warnings"]) == ([], [], {}), capfd.readouterr()
    assert status == 0
    assert results["sanitizer"] == {"passed": True} | {
        tool: f"{tool}: 0 errors" for tool in ("memcheck", "racecheck", "synccheck")
    }
    assert results["memory"]["left by 5 dropped steps"] == 0
    assert results["TF32"]["TF32 is used"]
    assert results["TF32"]["largest difference of losses"] > 1e-7
    assert [*results["speed"][0]["milliseconds"]] == ["cpu", "gpu", "chunk kernel"]
    found = gpu_verdict.quantities(results)
    assert found["train lstm 2×64, speed-up by the chunk kernel"] > 0
    assert found["train lstm 2×64, relative to its chain"] > 0


def test_a_calibrated_graph_is_a_chain_of_one_operation(gpu, cuda, monkeypatch):
    graphs = []
    monkeypatch.setattr(gpu_measurements, "OPERATIONS", 7)
    monkeypatch.setattr(gpu_measurements, "REPEATS", 2)
    right = gpu_measurements.time_of

    def time_of(backend, unit):
        cuda.operations()
        time = right(backend, unit)
        graphs.append((cuda.operations()["graph"], cuda.last_graph()))
        return time

    monkeypatch.setattr(gpu_measurements, "time_of", time_of)
    gpu_measurements.calibration(gpu, Work(rnn_size=8, seq_length=3, batch_size=2, device="gpu"), [8])
    replays = gpu_measurements.WARM_UP - graph.WARM_UP + gpu_measurements.REPEATS
    assert graphs[:4] == [(replays, (1, 1)), (replays, (7, 7))] * 2
    assert graphs[4:] == [(replays, (1, 1)), (0, (1, 1))]
