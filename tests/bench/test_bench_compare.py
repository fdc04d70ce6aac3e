import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import bench_compare
import bench_work
import pytest
import run
from bench_compare import Result, compare
from bench_work import Work, opponents

SMALL = Work(rnn_size=8, num_layers=1, vocab_size=11, seq_length=4, batch_size=3)
GPU = replace(SMALL, device="gpu:0")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, value in {"PAUSE": 0, "UNITS": 2, "TURN": 0, "N": 64}.items():
        monkeypatch.setattr(bench_compare, name, value)


def result(ours, theirs, work=SMALL, against=SMALL):
    return Result([work, against], [ours, theirs], [10**7, 2 * 10**7], 100.0)


def test_ratios_and_speeds():
    """Background load slows both runs in the second round and one run in the third."""
    one = result(
        [[1, 1], [9, 9], [1, 1]], [[2, 2], [18, 18], [50, 50]], against=replace(SMALL, kind="evaluate")
    )
    assert one.ratios == [2, 2, 50]
    assert one.disturbed
    assert not result([[1], [1], [1]], [[2], [3], [4.0]]).disturbed
    many = replace(SMALL, kind="sample-many")
    assert result([[2.0]], [[1.0]], many, replace(SMALL, kind="sample")).ratios == [32]
    two = result([[2.0, 4.0], [3.0, 3.0]], [[6.0], [6.0]], against=replace(SMALL, engine="pytorch"))
    assert two.row() == (
        *("train lstm 1×8", "4", "PyTorch", "2", "2.00", "2.00 – 2.00"),
        *(f"{SMALL.flop / 3 / 1e11:.0%}", "10 / 20 MB"),
    )
    assert Result([SMALL], [[[1.0]]], [10**7], 100.0).row()[2:] == ("–", "–", "–", "–", "0%", "10 MB")


@pytest.mark.parametrize(
    ("work", "changes"),
    [
        (replace(SMALL, kind="dropout"), [{"kind": "train"}]),
        (replace(SMALL, kind="scheduled-sampling"), [{"kind": "train"}]),
        (replace(SMALL, kind="sample-many"), [{"kind": "sample"}]),
        (replace(SMALL, model="gru-reset-before"), []),
        (replace(SMALL, device="opencl:0"), [{"engine": "pytorch"}]),
        (replace(GPU, kind="evaluate"), [{"engine": "pytorch"}, {"engine": "pytorch-graph"}]),
        (replace(GPU, kind="sample"), [{"engine": "pytorch"}]),
    ],
)
def test_baselines_of_each_benchmark(work, changes, monkeypatch):
    monkeypatch.setattr(bench_work, "find_spec", lambda name: object())
    assert opponents(work) == [replace(work, **change) for change in changes]


def test_benchmark_and_baseline_run_in_every_round_each_in_its_own_process(monkeypatch):
    """The processes do not round to TF32."""
    monkeypatch.setenv("CUPY_TF32", "1")
    with bench_compare.new_process() as process:
        assert process.submit(os.getenv, "CUPY_TF32").result() == "0"
    before = bench_compare.prepared.cache_info()
    measured = compare([replace(SMALL, kind="dropout"), SMALL], 2)
    assert [len(turns) for turns in measured.seconds] == [2, 2]
    assert all(second > 0 for turns in measured.seconds for turn in turns for second in turn)
    assert all(size > 10**7 for size in measured.memory)
    assert bench_compare.prepared.cache_info() == before, "nothing ran in this process"


def test_the_first_iteration_of_a_run_is_not_measured(monkeypatch):
    monkeypatch.setattr(bench_compare, "new_process", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(bench_compare, "durations", lambda work, times: [9.0] + [1.0] * (times - 1))
    assert compare([SMALL, SMALL], rounds=2).seconds == [[[1.0], [1.0]]] * 2


@pytest.mark.parametrize("broken", ["", "pytorch-graph", "pytorch"])
def test_script_leaves_out_only_a_graph_that_cannot_be_captured(broken, monkeypatch, capsys):
    def measured(works, rounds):
        if works[1].engine == broken:
            raise RuntimeError("capture failed\nmore")
        return result([[1.0], [1.0]], [[2.0], [5.0]], *works)

    monkeypatch.setattr(run, "compare", measured)
    engines = ("pytorch", "pytorch-graph")
    monkeypatch.setattr(run, "opponents", lambda work: [replace(work, engine=engine) for engine in engines])
    if broken == "pytorch":
        with pytest.raises(RuntimeError, match="capture failed"):
            run.main([])
    else:
        assert run.main(["--device", "cpu"]) == 0
        first, second = capsys.readouterr().out.splitlines()[2:]
        assert first.endswith("disturbed: rerun on an idle machine")
        skipped = "skipped PyTorch in a CUDA graph: RuntimeError: capture failed"
        assert second == skipped if broken else "PyTorch, CUDA graph  " in second


def test_script_without_pytorch_and_without_a_device(monkeypatch, capsys):
    monkeypatch.setattr(bench_compare, "new_process", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(bench_work, "find_spec", lambda name: None)
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    sizes = {"num-layers": 1, "vocab-size": 11, "seq-length": 4, "batch-size": 3, "rounds": 1}
    assert run.main(["--rnn-size", "8", "6", *(f"--{name}={value}" for name, value in sizes.items())]) == 0
    described, heading, *rows = capsys.readouterr().out.splitlines()
    assert described.endswith("; PyTorch is not installed")
    names = [row[: heading.index("characters")].strip() for row in rows]
    assert names == ["train lstm 1×8", "train lstm 1×6"]
    assert run.main(["--device", "abacus"]) == 1
    assert capsys.readouterr().err.startswith("unknown device 'abacus'")


@pytest.mark.parametrize("kind", ["train", "evaluate", "sample"])
def test_an_iteration_on_a_gpu_ends_when_the_current_stream_is_idle(kind, monkeypatch):
    from cupy_double import DoubleOfCuPy

    cupy = DoubleOfCuPy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    waited = []
    unit = bench_compare.prepared.__wrapped__(replace(GPU, kind=kind))
    monkeypatch.setattr(cupy.cuda.stream, "synchronize", lambda: waited.append(kind), raising=False)
    unit()
    assert waited == [kind]
