"""Tests of the measurements of ``first_hour.py``, and of their comparison with estimates and goals."""

from dataclasses import asdict, replace
from time import monotonic
from types import SimpleNamespace

import bench_minichar
import bench_work
import gpu_measurements
import gpu_sanitizer
import gpu_verdict
import pytest
from bench_work import Work
from first_hour import DRY, Plan, has_failed
from gpu_measurements import FUSED, PRODUCT, WARM_UP

from minichar.devices.cpu import CPU

GPU = replace(DRY.work, device="gpu", rnn_size=64)


class TestSpeed:
    @pytest.fixture(autouse=True)
    def with_pytorch(self, monkeypatch):
        monkeypatch.setattr(bench_work, "find_spec", lambda name: object())

    def test_columns(self, monkeypatch):
        """Sizes and benchmarks without a chunk kernel have no column for it."""
        timed = []
        monkeypatch.setattr(gpu_measurements, "milliseconds", lambda work, _: timed.append(work) or 1.0)
        changes = [
            {},
            {"kind": "dropout"},
            {"kind": "scheduled-sampling"},
            {"kind": "dropout", "rnn_size": 8},
        ]
        rows = gpu_measurements.speed([replace(GPU, **change) for change in changes], 0, lambda: False)
        assert [list(row["milliseconds"]) for row in rows] == [
            ["cpu", "gpu", "chunk kernel", "PyTorch", "PyTorch, CUDA graph"],
            ["cpu", "gpu", "chunk kernel"],
            ["cpu", "gpu"],
            ["cpu", "gpu"],
        ]
        assert [(one.engine, one.device, one.chunk_kernel) for one in timed[:5]] == [
            *(("minichar", "cpu", False), ("minichar", "gpu", False), ("minichar", "gpu", True)),
            *(("pytorch", "gpu", False), ("pytorch-graph", "gpu", False)),
        ]

    @pytest.mark.parametrize(
        ("broken", "failed"),
        [(("pytorch-graph", False), False), (("minichar", False), True), (("minichar", True), True)],
    )
    def test_only_errors_of_minichar_on_the_device_are_failures(self, monkeypatch, broken, failed):
        def failing(work, duration):
            if (work.engine, work.chunk_kernel, work.device) == (*broken, "gpu"):
                raise RuntimeError("first line\nsecond line")
            return 1.0

        monkeypatch.setattr(gpu_measurements, "milliseconds", failing)
        late = iter([False] * 5 + [True] * 5)
        rows = list(gpu_measurements.speed([GPU, GPU], 0, lambda: next(late)))
        assert [*rows[0]["errors"].values()] == ["RuntimeError: first line"]
        assert len(rows[0]["milliseconds"]) == 4
        assert (rows[1]["milliseconds"], rows[1]["errors"], len(rows[1]["left out"])) == ({}, {}, 5)
        assert has_failed(rows, "gpu") == failed


@pytest.fixture
def prepared(monkeypatch):
    """Return a list that has one element for each iteration of a benchmark that does nothing."""
    calls = []
    monkeypatch.setattr(bench_minichar, "prepare", lambda work: lambda: calls.append(work))
    return calls


def test_milliseconds_are_the_median_after_the_warm_up(monkeypatch, prepared):
    durations = iter([0.003, 0.001, 0.002])
    monkeypatch.setattr(gpu_measurements, "seconds", lambda unit: next(durations))
    assert gpu_measurements.milliseconds(GPU, 0) == pytest.approx(2)
    assert len(prepared) == WARM_UP


@pytest.mark.parametrize(("left", "passed"), [(0.2e9, True), (0.3e9, False)])
def test_memory_of_a_gpu(left, passed, monkeypatch, prepared):
    """The driver keeps 1 GB, which is not counted as left by the steps that are dropped later."""
    free = iter([7e9, 7e9, 4.5e9, 6e9, 6e9 - left])
    runtime = SimpleNamespace(memGetInfo=lambda: (next(free), 8e9))
    pool = SimpleNamespace(free_all_blocks=lambda: None)
    xp = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), get_default_memory_pool=lambda: pool)
    found = gpu_measurements.memory(SimpleNamespace(xp=xp), GPU)
    assert [*found.values()] == [passed, 64, 2500, left / 1e6, 7000, 8000]
    assert len(prepared) == (1 + 5) * WARM_UP


@pytest.mark.parametrize(("tf32", "chunk_kernel"), [(False, True), (True, False)])
def test_a_benchmark_opens_the_device_in_its_mode(tf32, chunk_kernel, monkeypatch):
    device, modes = type(CPU)(), []
    monkeypatch.setattr(bench_minichar, "open_backend", lambda name, tf32: modes.append(tf32) or device)
    bench_minichar.prepare(replace(DRY.work, tf32=tf32, chunk_kernel=chunk_kernel))
    assert (modes, device.uses_chunk_kernel) == ([tf32], chunk_kernel)


def test_the_time_of_an_operation_excludes_that_of_a_launch(monkeypatch):
    """A launch takes 5 µs, a product 2 µs and a kernel 3 µs."""
    taken = []

    def time_of(backend, unit):
        taken.clear()
        unit()
        return 5e-6 + sum(taken)

    operations = {PRODUCT: lambda: taken.append(2e-6), FUSED: lambda: taken.append(3e-6)}
    monkeypatch.setattr(gpu_measurements, "operations", lambda *sizes: operations)
    monkeypatch.setattr(gpu_measurements, "time_of", time_of)
    monkeypatch.setattr(gpu_measurements, "host_time", lambda *arguments: 7e-6)
    monkeypatch.setattr(gpu_measurements, "OPERATIONS", 10)
    assert [*gpu_measurements.calibration(CPU, GPU, [4])["microseconds"].values()] == pytest.approx(
        [2, 3, 8, 3.5, 7]
    )


def test_only_the_host_time_excludes_the_work_of_a_gpu(monkeypatch):
    events = []
    monkeypatch.setattr(gpu_measurements, "REPEATS", 1)
    monkeypatch.setattr(gpu_measurements, "seconds", lambda unit: unit() or events.append("timed") or 1.0)
    stream = SimpleNamespace(synchronize=lambda: events.append("wait"))
    xp = SimpleNamespace(cuda=SimpleNamespace(get_current_stream=lambda: stream))
    gpu_measurements.time_of(SimpleNamespace(kind="gpu", xp=xp), lambda: events.append("run"))
    assert events == ["run", "wait"] * WARM_UP + ["run", "wait", "timed"]
    events.clear()
    step = SimpleNamespace(loss=0.0, learn=lambda *chunk: events.append("run"))
    monkeypatch.setattr(gpu_measurements.checks, "training_losses", lambda *arguments: (None, step))
    backend = SimpleNamespace(to_host=lambda loss: events.append("wait"), uniform=lambda seed: None)
    gpu_measurements.host_time(backend, GPU)
    assert events == ["wait", "run", "timed"]


class TestSanitizer:
    """A shell script replaces compute-sanitizer. ``cpu_cuda`` runs the kernels with one."""

    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

        def run(script, seconds=60.0):
            path = tmp_path / "compute-sanitizer"
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
            return gpu_sanitizer.sanitizer(GPU, monotonic() + seconds)

        return run

    def test_an_error_of_one_tool_is_a_failure_and_all_of_its_output_is_printed(self, run, capsys):
        found = run('echo "= $4"; if [ $2 = racecheck ]; then echo "1 hazard" >&2; exit $4; fi')
        assert found == {"passed": False, "memcheck": "9", "racecheck": "1 hazard", "synccheck": "9"}
        assert capsys.readouterr().out == "= 9\n1 hazard\n"

    def test_a_tool_is_stopped_at_the_end_of_the_time(self, run):
        stopped = dict.fromkeys(gpu_sanitizer.TOOLS, "stopped after 0 s")
        assert run("exec sleep 60", 0.0) == {"passed": False} | stopped

    def test_the_program_of_the_package_is_used_if_there_is_no_toolkit(self, tmp_path, monkeypatch):
        """The package does not mark it as executable."""
        package = SimpleNamespace(submodule_search_locations=[str(tmp_path / "other"), str(tmp_path)])
        monkeypatch.setattr(gpu_sanitizer, "find_spec", lambda name: package)
        path = tmp_path / "cuda_sanitizer_api" / "bin" / "compute-sanitizer"
        path.parent.mkdir(parents=True)
        path.touch(0o644)
        libraries = str(tmp_path / "cuda_sanitizer_api" / "lib")
        assert gpu_sanitizer.find() == [str(path), "--injection-path", libraries]
        assert path.stat().st_mode & 0o111


MILLISECONDS = {"cpu": 20.0, "gpu": 2.0, "chunk kernel": 0.5, "PyTorch": 3.0, "PyTorch, CUDA graph": 1.0}
OPERATIONS = {"matrix product, H = 128": 5.0, "fused kernel, H = 128": 2.5}
ESTIMATE, GOAL = ({"kind": kind, "least": "1.5", "most": "2"} for kind in ("estimate", "goal"))


def row(**changes):
    return {"work": asdict(Work(device="gpu", **changes)), "milliseconds": MILLISECONDS, "errors": {}}


class TestVerdict:
    @pytest.mark.parametrize(
        ("row", "verdicts"),
        [
            (ESTIMATE, {1.4: "lower", 1.5: "as estimated", 2.0: "as estimated", 2.1: "higher"}),
            (GOAL, {1.4: "missed", 1.5: "reached", 99.0: "reached", None: "not measured"}),
        ],
    )
    def test_verdicts(self, row, verdicts):
        assert {value: gpu_verdict.compare(row | {"measured": value}) for value in verdicts} == verdicts

    def test_times_are_compared_with_each_other_and_with_the_chain(self):
        rows = {"speed": [row()], "other speeds": [row(model="gru")]}
        found = gpu_verdict.quantities({"calibration": {"microseconds": OPERATIONS}} | rows)
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

    def test_sections_that_failed_and_devices_without_times_have_no_quantities(self):
        failed, rows = {"passed": False, "error": "Error"}, [row() | {"milliseconds": {"cpu": 1.0}}]
        rows = gpu_verdict.verdict({"calibration": failed, "speed": failed, "other speeds": rows})
        assert {one["verdict"] for one in rows} == {"not measured"}
        heading, *lines = gpu_verdict.lines(rows)
        assert heading.endswith("measured")
        assert len({line.index("  not measured") for line in lines}) == 1

    def test_first_hour_measures_every_quantity_of_the_table(self):
        """For the benchmarks, all columns are measured."""
        plan = Plan()
        works = gpu_measurements.deciding(plan.work, plan.sizes[:-1])
        works += gpu_measurements.others(plan.work, plan.sizes, plan.batch_sizes)
        rows = [row(rnn_size=work.rnn_size, kind=work.kind, batch_size=work.batch_size) for work in works]
        launches = ("launch of a graph", "launch of a kernel without a graph", "host time per chunk")
        operations = [f"{name}, H = {H}" for name in (PRODUCT, FUSED) for H in plan.sizes]
        calibration = {"microseconds": dict.fromkeys([*operations, *launches], 1.0)}
        found = gpu_verdict.verdict({"calibration": calibration, "speed": rows})
        assert [one["quantity"] for one in found if one["measured"] is None] == []

    def test_the_estimates_of_training_steps_follow_from_those_of_operations(self):
        rows = {row["quantity"]: row for row in gpu_verdict.verdict({})}
        for H, end in ((H, end) for H in Plan().sizes for end in ("least", "most")):
            chain = sum(float(rows[f"{name}, H = {H}"][end]) for name in (PRODUCT, FUSED))
            expected = pytest.approx(gpu_verdict.CHAIN / 2 * chain / 1000, abs=0.05)
            assert float(rows[f"train lstm 2×{H}"][end]) == expected
