"""Tests of the comparison of measurements with estimates and goals."""

from dataclasses import asdict

import gpu_verdict
import pytest
from bench_work import Work
from first_hour import Plan
from gpu_measurements import deciding, others

MILLISECONDS = {"cpu": 20.0, "gpu": 2.0, "chunk kernel": 0.5, "PyTorch": 3.0, "PyTorch, CUDA graph": 1.0}
OPERATIONS = {"matrix product, H = 128": 5.0, "fused kernel, H = 128": 2.5}
ROW = {"quantity": "a", "unit": "ms", "kind": "estimate", "least": "1.5", "most": "2"}
GOAL = ROW | {"kind": "goal", "most": ""}


def row(**changes):
    return {"work": asdict(Work(device="gpu", **changes)), "milliseconds": MILLISECONDS, "errors": {}}


@pytest.mark.parametrize(
    ("row", "measured", "verdict"),
    [
        (ROW, 1.4, "lower"),
        (ROW, 1.5, "as estimated"),
        (ROW, 2.0, "as estimated"),
        (ROW, 2.1, "higher"),
        (GOAL, 1.4, "missed"),
        (GOAL, 1.5, "reached"),
        (GOAL, 99.0, "reached"),
        (ROW, None, "not measured"),
    ],
)
def test_verdicts(row, measured, verdict):
    assert gpu_verdict.compare(row | {"measured": measured}) == verdict


def test_times_are_compared_with_each_other_and_with_the_chain():
    found = gpu_verdict.quantities(
        {"calibration": {"microseconds": OPERATIONS}, "speed": [row()], "other speeds": [row(model="gru")]}
    )
    own = {name: value for name, value in found.items() if "lstm" in name}
    assert own == {
        "train lstm 2×128": 2.0,
        "train lstm 2×128, speed relative to the CPU": 10.0,
        "train lstm 2×128, chunk kernel": 0.5,
        "train lstm 2×128, speed-up by the chunk kernel": 4.0,
        "train lstm 2×128, speed relative to PyTorch": 1.5,
        "train lstm 2×128, speed relative to PyTorch, CUDA graph": 0.5,
        "train lstm 2×128, relative to its chain": 2000 / (127.5 * 7.5),
    }
    assert found["train gru 2×128"] == 2.0
    assert "train gru 2×128, relative to its chain" not in found


def test_sections_that_failed_and_devices_without_times_have_no_quantities():
    failed, rows = {"passed": False, "error": "RuntimeError"}, [row() | {"milliseconds": {"cpu": 1.0}}]
    results = {"calibration": failed, "speed": failed, "other speeds": rows}
    rows = gpu_verdict.verdict(results)
    assert {one["verdict"] for one in rows} == {"not measured"}
    heading, *lines = gpu_verdict.lines(rows)
    assert heading.endswith("measured")
    assert len({line.index("  not measured") for line in lines}) == 1


def test_first_hour_measures_every_quantity_of_the_table():
    """For the benchmarks, all columns are measured."""
    plan = Plan()
    works = [*deciding(plan.work, plan.sizes[:-1]), *others(plan.work, plan.sizes, plan.batch_sizes)]
    operations = [f"{name}, H = {H}" for name in (gpu_verdict.PRODUCT, gpu_verdict.FUSED) for H in plan.sizes]
    launches = ("launch of a graph", "launch of a kernel without a graph", "host time per chunk")
    rows = [row(rnn_size=work.rnn_size, kind=work.kind, batch_size=work.batch_size) for work in works]
    calibration = {"microseconds": dict.fromkeys([*operations, *launches], 1.0)}
    results = {"calibration": calibration, "speed": rows}
    assert [one["quantity"] for one in gpu_verdict.verdict(results) if one["measured"] is None] == []


def test_the_estimates_of_training_steps_follow_from_those_of_operations():
    rows = {row["quantity"]: row for row in gpu_verdict.verdict({})}
    for H in Plan().sizes:
        operations = [rows[f"{name}, H = {H}"] for name in (gpu_verdict.PRODUCT, gpu_verdict.FUSED)]
        for end in ("least", "most"):
            chain = gpu_verdict.CHAIN / 2 * sum(float(row[end]) for row in operations) / 1000
            assert float(rows[f"train lstm 2×{H}"][end]) == pytest.approx(chain, abs=0.05)
