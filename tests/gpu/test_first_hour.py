"""Tests that ``first_hour.py`` runs without a GPU and that its checks detect errors."""

import json
import sys
from dataclasses import replace
from operator import neg
from types import SimpleNamespace
from warnings import warn

import first_hour
import gpu_checks
import gpu_measurements
import pytest
from first_hour import DRY, has_failed, main

from minichar.bench import compare, ours
from minichar.devices.cpu import CPU
from minichar.engine import dropout
from minichar.engine.embedding import Embedding
from minichar.engine.gradcheck import Row
from minichar.engine.layer import Layer
from minichar.engine.layer_norm import LayerNorm
from minichar.engine.network import Network
from minichar.engine.tied_embedding import TiedEmbedding
from minichar.sampling.choice import Choice
from minichar.training.measurement import Measurement
from minichar.training.scheduled_sampling import ScheduledSampling

NAMES = ["machine", "gradients", "losses", "graphs", "resuming", "speed", "launches", "memory"]

FAULTS = {
    "train": (Network, "learn"),
    "dropout": (dropout, "backward"),
    "scheduled-sampling": (ScheduledSampling, "__call__"),
    "evaluate": (Measurement, "_read"),
    "sample": (Choice, "ids"),
}
"""For each kind of step in `gpu_checks.graphs`, a function that its graph contains."""

LSTM, GRU = "LSTM with layer normalisation", "GRU (reset after the matrix product) with layer normalisation"
OPTIONS = {
    "layer normalisation": (LayerNorm, "forward", neg, [LSTM, GRU]),
    "embedding": (Embedding, "forward", neg, [LSTM]),
    "tied embedding": (TiedEmbedding, "forward", neg, [GRU]),
    "resets": (gpu_checks.Case, "keep", lambda keep: [], [GRU]),
}
"""For each option, a function, a change of its result, and the cases whose losses change."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Generate less text, and skip importing PyTorch, which takes longer than everything else."""
    monkeypatch.setattr(ours, "PIECE", 5)
    monkeypatch.setattr(compare, "find_spec", lambda name: None)


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
    assert all(results[name]["passed"] for name in ("gradients", "losses", "graphs", "resuming"))
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
    error, advice = capsys.readouterr().err.splitlines()
    assert error.startswith("device gpu: requires CuPy")
    assert "--dry" in advice


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


def test_pytorch_without_cuda_does_not_fail_the_section(monkeypatch):
    def describe(work):
        raise AssertionError("Torch not compiled with CUDA enabled\nmore")

    rival = SimpleNamespace(describe=describe)
    monkeypatch.setattr(first_hour, "opponents", lambda work: [work])
    monkeypatch.setattr(first_hour, "import_module", lambda name: rival)
    found = first_hour.machine(CPU, DRY.work)
    assert found["rival"] == "AssertionError: Torch not compiled with CUDA enabled"
    assert found["device"] == CPU.describe()


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


class TestChecks:
    """Run the checks on the CuPy test double, and with errors that they must detect."""

    def test_pass_on_another_device(self):
        from cupy_double import open_double  # skips the test if CuPy is not installed

        gpu = open_double()
        losses = gpu_checks.losses(gpu, DRY.work, 3)
        assert losses["passed"]
        assert len(losses["largest difference"]) == 6
        assert [*losses["captured as a CUDA graph"].values()] == [True] * 6
        graphs = gpu_checks.graphs(gpu, DRY.work)
        assert graphs["passed"]
        assert [*graphs["captured as a CUDA graph"]] == [*FAULTS]
        assert gpu_checks.resuming(gpu, DRY.work, 4) == {"passed": True, "bit for bit": True, "steps": (2, 4)}

    def test_a_step_that_is_not_captured_is_a_failure(self, monkeypatch):
        from cupy_double import open_double

        gpu = open_double()
        monkeypatch.setattr(gpu, "recorded", lambda step, agree=bool: step)
        losses = gpu_checks.losses(gpu, DRY.work, 3)
        assert max(losses["largest difference"].values()) < gpu_checks.LIMIT
        assert not losses["passed"]

    @pytest.mark.parametrize("kind", ["dropout", "scheduled-sampling", "evaluate", "sample"])
    def test_one_kind_of_step_that_is_not_captured_is_a_failure(self, kind, monkeypatch):
        from cupy_double import open_double

        gpu, (module, name) = open_double(), FAULTS[kind]
        right = getattr(module, name)

        def waiting(*args, **kwargs):
            gpu.xp.cuda.get_current_stream().synchronize()
            return right(*args, **kwargs)

        monkeypatch.setattr(module, name, waiting)
        with pytest.warns(RuntimeWarning, match="cannot be captured"):
            found = gpu_checks.graphs(gpu, DRY.work)
        assert not found["passed"]
        assert [
            other for other, is_captured in found["captured as a CUDA graph"].items() if not is_captured
        ] == [kind]

    def test_a_step_with_resets_that_is_not_captured_is_a_failure(self, monkeypatch):
        from cupy_double import open_double

        gpu, right = open_double(), Layer.step

        def waiting(layer, t, keep=None):
            if keep is not None:
                gpu.xp.cuda.get_current_stream().synchronize()
            return right(layer, t, keep)

        monkeypatch.setattr(Layer, "step", waiting)
        with pytest.warns(RuntimeWarning, match="cannot be captured"):
            found = gpu_checks.graphs(gpu, DRY.work)
        assert not found["passed"]
        assert found["captured as a CUDA graph"] == {
            kind: kind not in ("evaluate", "sample") for kind in FAULTS
        }

    @pytest.mark.parametrize("option", OPTIONS)
    def test_the_losses_depend_on_each_option(self, option, monkeypatch):
        training_losses = gpu_checks.training_losses
        owner, name, change, cases = OPTIONS[option]
        right = getattr(owner, name)

        def wrong(backend, *args):
            with monkeypatch.context() as patch:
                if backend is not CPU:
                    patch.setattr(owner, name, lambda *args: change(right(*args)))
                return training_losses(backend, *args)

        monkeypatch.setattr(gpu_checks, "training_losses", wrong)
        found = gpu_checks.losses(type(CPU)(), DRY.work, 2)
        assert not found["passed"]
        differences = found["largest difference"]
        assert [title for title, error in differences.items() if error > gpu_checks.LIMIT] == cases

    def test_the_gradients_with_each_option_are_checked(self, monkeypatch):
        networks, row = [], Row("layer1.W", (2, 3), 0.0, 0.0)
        monkeypatch.setattr(
            gpu_checks, "check_network", lambda network, *chunk: networks.append(network) or [row]
        )
        gpu_checks.gradients(CPU)
        *plain, embedded, tied = networks
        assert not any(network.config.layer_norm or network.config.embedding for network in plain)
        assert embedded.config.layer_norm
        assert embedded.config.embedding == 5  # differs from H, so that a transposed matrix is an error
        assert tied.config.layer_norm
        assert tied.config.tied
        assert {*tied.keep[1:].flat} == {0, 1}
        assert all(network.keep is None for network in [*plain, embedded])

    @pytest.mark.parametrize("error", [1e-3, float("nan")])
    def test_different_losses_are_found(self, error, monkeypatch):
        training_losses = gpu_checks.training_losses

        def wrong(backend, work, steps, case):
            losses, step = training_losses(backend, work, steps, case)
            if case.model == "rnn" and backend is not CPU:
                losses[-1] += error
            return losses, step

        monkeypatch.setattr(gpu_checks, "training_losses", wrong)
        assert not gpu_checks.losses(type(CPU)(), DRY.work, 2)["passed"]

    def test_a_wrong_gradient_is_found(self, monkeypatch):
        rows = [Row("layer1.W", (2, 3), 1e-6, 1e-9), Row("layer2.W", (2, 3), 1e-16, 1e-9)]
        monkeypatch.setattr(gpu_checks, "check_network", lambda network, *chunk: rows)
        result = gpu_checks.gradients(CPU)
        assert not result["passed"]
        assert {*result["errors"].values()} == {1e-6}

    def test_a_run_that_is_not_resumed_exactly_is_found(self, monkeypatch):
        resume = gpu_checks.resume

        def wrong(*args):
            run = resume(*args)
            run.trainer.step.optimiser.mean_square[...] *= 1.001
            return run

        monkeypatch.setattr(gpu_checks, "resume", wrong)
        assert not gpu_checks.resuming(CPU, DRY.work, 4)["passed"]

    def test_a_run_that_did_not_go_on_is_found(self, monkeypatch):
        """If the stopped run already has the final weights, the check has not tested resuming."""
        train = gpu_checks.train
        monkeypatch.setattr(
            gpu_checks, "train", lambda trainer, steps: trainer if trainer.iteration else train(trainer, 2)
        )
        assert gpu_checks.resuming(CPU, DRY.work, 4) == {
            "passed": False,
            "bit for bit": True,
            "steps": (2, 2),
        }


class TestMeasurements:
    def test_columns(self, monkeypatch):
        """Expect minichar on both devices and PyTorch on one, but not minichar's other baselines."""
        monkeypatch.setattr(compare, "find_spec", lambda name: object())
        timed = []
        monkeypatch.setattr(
            gpu_measurements, "milliseconds", lambda work, duration: timed.append(work) or 1.0
        )
        work = replace(DRY.work, device="gpu:1")
        rows = list(gpu_measurements.speed([work, replace(work, kind="dropout")], 0, lambda: False))
        assert [list(row["milliseconds"]) for row in rows] == [
            ["cpu", "gpu:1", "PyTorch", "PyTorch, CUDA graph"],
            ["cpu", "gpu:1"],
        ]
        assert [(one.engine, one.device) for one in timed[:4]] == [
            *(("minichar", "cpu"), ("minichar", "gpu:1")),
            *(("pytorch", "gpu:1"), ("pytorch-graph", "gpu:1")),
        ]

    @pytest.mark.parametrize(("broken", "failed"), [("pytorch-graph", False), ("minichar", True)])
    def test_only_errors_of_minichar_on_the_device_are_failures(self, monkeypatch, broken, failed):
        def failing(work, duration):
            if (work.engine, work.device) == (broken, "gpu"):
                raise RuntimeError("first line\nsecond line")
            return 1.0

        monkeypatch.setattr(compare, "find_spec", lambda name: object())
        monkeypatch.setattr(gpu_measurements, "milliseconds", failing)
        (row,) = rows = list(gpu_measurements.speed([replace(DRY.work, device="gpu")], 0, lambda: False))
        assert [*row["errors"].values()] == ["RuntimeError: first line"]
        assert len(row["milliseconds"]) == 3
        assert has_failed(rows, "gpu") == failed

    def test_measurements_are_left_out_when_the_time_is_up(self, monkeypatch):
        left = iter([False, True])
        monkeypatch.setattr(gpu_measurements, "milliseconds", lambda work, duration: 1.0)
        work = replace(DRY.work, device="gpu")
        (row,) = gpu_measurements.speed([work], 0, lambda: next(left))
        assert (row["milliseconds"], row["left out"], row["errors"]) == ({"cpu": 1.0}, ["gpu"], {})
        assert not has_failed([row], "gpu")

    def test_milliseconds_are_the_median_after_the_warm_up(self, monkeypatch):
        calls, durations = [], iter([0.003, 0.001, 0.002])
        monkeypatch.setattr(ours, "prepare", lambda work: lambda: calls.append(work))
        monkeypatch.setattr(gpu_measurements, "seconds", lambda unit: next(durations))
        assert gpu_measurements.milliseconds(replace(DRY.work, device="gpu"), 0) == pytest.approx(2)
        assert len(calls) == gpu_measurements.WARM_UP

    def test_launches(self):
        def event(device, name, microseconds):
            elapsed = SimpleNamespace(elapsed_us=lambda: microseconds)
            return SimpleNamespace(device_type=SimpleNamespace(name=device), name=name, time_range=elapsed)

        events = [
            *(event("CPU", "cudaGraphLaunch", 9), event("CPU", "cudaMemcpyAsync", 9)),
            *(event("CUDA", "gemm", 300), event("CUDA", "lstm_forward", 200)),
        ]
        assert gpu_measurements.count_launches(iter(events)) == {
            "launches": 1,
            "operations": 2,
            "busy milliseconds": 0.5,
        }

    def test_memory_of_a_gpu(self, monkeypatch):
        free = iter([(7e9, 8e9), (5e9, 8e9)])
        runtime = SimpleNamespace(memGetInfo=lambda: next(free))
        pool = SimpleNamespace(free_all_blocks=lambda: None)
        xp = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), get_default_memory_pool=lambda: pool)
        monkeypatch.setattr(ours, "prepare", lambda work: lambda: None)
        result = gpu_measurements.memory(SimpleNamespace(xp=xp), replace(DRY.work, device="gpu"))
        assert result == {"H": 8, "megabytes": 2000, "available": 7000, "of": 8000}

    def test_speed_on_the_double(self, monkeypatch):
        from cupy_double import DoubleOfCuPy

        monkeypatch.setitem(sys.modules, "cupy", DoubleOfCuPy())
        plan = replace(DRY, device="gpu", sizes=(4,), chunk=2)
        works = gpu_measurements.all_works(plan.work, plan.sizes)[:1]
        (row,) = gpu_measurements.speed(works, 0, lambda: False)
        assert row["errors"] == {}
        assert [*row["milliseconds"]] == ["cpu", "gpu"]
