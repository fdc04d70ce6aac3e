"""`CudaGraph` on the real CuPy: its memory, its events, and what interrupts a capture."""

import gc
from types import SimpleNamespace

import bench_minichar
import cupy
import numpy as np
import pytest
from bench_work import Work

from minichar.devices.graph import RETIRED, WARM_UP, CudaGraph, free_retired

WORK = Work(rnn_size=16, seq_length=4, batch_size=6, device="gpu", vocab_size=20)


@pytest.fixture
def counting(gpu):
    """Return ``(step, total)``. Each run of the step adds one to `total`."""
    one, total = gpu.to_device(np.ones(3)), gpu.zeros((3,), "float64")

    def step():
        total[...] = total + one

    return gpu.recorded(step), total


def free_all():
    """Free all memory of what no longer exists."""
    gc.collect()
    free_retired()
    cupy.get_default_memory_pool().free_all_blocks()


def test_the_memory_of_dropped_graphs_is_freed(cuda):
    def train():
        unit = bench_minichar.prepare(WORK)
        for _ in range(WARM_UP + 2):
            unit()

    train()  # also allocates the workspace of cuBLAS, which is kept
    free_all()
    before = cuda.used()
    for _ in range(20):
        train()
    free_all()
    assert cuda.used() == before
    assert not RETIRED


@pytest.fixture
def no_collector():
    """Disable Python's garbage collector."""
    gc.disable()
    yield
    gc.enable()


def use_memory(gpu, runs):
    """Run a step with a temporary array of 2 MiB, and drop it in a reference cycle."""
    a, cycle = gpu.zeros((1 << 18,), "float64"), []
    step = gpu.recorded(lambda: [a + a, cycle])
    cycle.append(step)
    step(runs)


@pytest.mark.usefixtures("no_collector")
def test_a_capture_frees_the_memory_of_dropped_graphs(gpu, cuda):
    used = []
    for _ in range(6):
        use_memory(gpu, WARM_UP + 1)
        used.append(cuda.used())
    assert max(used[2:]) <= used[1]


def test_the_memory_of_dropped_graphs_is_freed_if_memory_runs_out(gpu, cuda):
    use_memory(gpu, 1)
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    assert RETIRED
    cuda.set(memory=cuda.used() + (3 << 20))  # enough for one of the two arrays
    use_memory(gpu, 1)


def test_memory_that_is_still_used_after_its_graph_was_dropped_is_kept(gpu):
    kept = []
    step = gpu.recorded(lambda: kept.append(gpu.zeros((9,), "float64") + 7.0))
    step()
    del step
    free_all()
    assert len(RETIRED) == 1
    assert gpu.to_host(kept[0]).tolist() == [7.0] * 9
    kept.clear()
    free_all()
    assert not RETIRED


def test_the_garbage_collector_does_not_run_during_capture(gpu, counting, monkeypatch):
    """Here, it would free memory of the device."""
    _, total = counting

    class Cycle:
        def __init__(self):
            self.itself, self.memory = self, cupy.cuda.Memory(512)

    def run():
        total[...] = total + 1.0
        Cycle()
        for _ in range(100):
            [[]]  # allocations, after which the collector runs

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        step = gpu.recorded(run)
        for _ in range(WARM_UP + 3):
            step()
    finally:
        gc.set_threshold(*before)
    assert step.graph is not None
    assert gc.isenabled()
    assert gpu.to_host(total).tolist() == [WARM_UP + 3] * 3


@pytest.mark.parametrize("times", [1, 5])
def test_a_block_of_steps_waits_for_the_caller_once(times, cuda, gpu, counting):
    step, total = counting
    step(WARM_UP + 1)
    cuda.operations()
    step(times)
    launched = cuda.operations()
    assert (launched["graph"], launched["event"], launched["wait"]) == (times, 2, 2)
    assert gpu.to_host(total).tolist() == [WARM_UP + 1 + times] * 3
    assert isinstance(step, CudaGraph)


def test_free_blocks_of_the_default_pool_are_used(gpu, cuda):
    a = cupy.zeros(1 << 18)
    step = gpu.recorded(lambda: a + a)
    free_all()
    block = cupy.zeros(1 << 18)
    cuda.set(memory=cuda.used() + (1 << 20))  # too little for another array
    del block
    step()


def test_no_memory_is_freed_during_capture(gpu, counting, monkeypatch):
    """It could synchronise the device, which would end the capture."""
    step, total = counting
    pool = step.pool

    def malloc(size):
        if step.stream.is_capturing():
            raise MemoryError("no memory")
        return pool.malloc(size)

    step(WARM_UP)
    step.pool = SimpleNamespace(malloc=malloc)
    monkeypatch.setattr(cupy, "get_default_memory_pool", lambda: pytest.fail("memory was freed"))
    with pytest.warns(RuntimeWarning, match="MemoryError: no memory"):
        step()
    assert step.graph is None
    assert gpu.to_host(total).tolist() == [WARM_UP + 1] * 3


class TestFallback:
    """A step that cannot be captured runs normally, and one warning names the cause."""

    @pytest.mark.parametrize(
        ("operation", "cause"),
        [
            (lambda a: cupy.matmul(a, a), "NotImplementedError: calling cuBLAS API"),
            (lambda a: float(a.sum()), "RuntimeError: the current stream is capturing"),
        ],
    )
    def test_steps_with_the_same_cause_print_one_warning(self, operation, cause, gpu):
        a, total = gpu.to_device(np.ones((2, 2))), gpu.zeros((), "float64")

        def run():
            total[...] = total + 1.0
            operation(a)

        steps = [gpu.recorded(run) for _ in range(2)]
        with pytest.warns(RuntimeWarning, match=cause):
            steps[0](WARM_UP + 3)
        steps[1](WARM_UP + 3)
        assert [step.graph for step in steps] == [None] * 2
        assert gpu.describe().endswith(", no CUDA graphs")
        assert float(total) == 2 * (WARM_UP + 3)

    @pytest.mark.parametrize("method", ["begin_capture", "end_capture", "upload"])
    def test_a_capture_that_cannot_be_begun_ended_or_uploaded(self, method, gpu, counting, monkeypatch):
        """CuPy may instantiate a graph only when it is first uploaded."""
        step, total = counting
        stream = type(step.stream)
        right = getattr(stream, "begin_capture" if method == "begin_capture" else "end_capture")

        def fail(*arguments):
            raise RuntimeError("the capture was invalidated\nmore")

        def ended(self):
            right(self)
            return SimpleNamespace(upload=fail) if method == "upload" else fail()

        replaced = ("begin_capture", fail) if method == "begin_capture" else ("end_capture", ended)
        monkeypatch.setattr(stream, *replaced)
        with pytest.warns(RuntimeWarning, match=r"\(RuntimeError: the capture was invalidated\)$"):
            step(WARM_UP + 2)
        assert step.graph is None
        assert gpu.to_host(total).tolist() == [WARM_UP + 2] * 3

    def test_an_interrupted_capture_is_ended(self, gpu, counting):
        _, total = counting
        keys = [None] * WARM_UP + ["Ctrl-C"]

        def run():
            total[...] = total + 1.0
            if keys and keys.pop(0):
                raise KeyboardInterrupt

        step = gpu.recorded(run)
        with pytest.raises(KeyboardInterrupt):
            step(WARM_UP + 1)
        step(2)  # captured, then replayed
        assert step.graph is not None
        assert gpu.to_host(total).tolist() == [WARM_UP + 2] * 3

    def test_an_error_of_the_step_itself_is_raised(self, gpu):
        with pytest.raises(ZeroDivisionError):
            gpu.recorded(lambda: 1 / 0)()
