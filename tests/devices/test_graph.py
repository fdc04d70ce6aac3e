"""Tests for `Backend.recorded`, which returns a CUDA graph on a GPU and a plain function elsewhere."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from minichar.devices.choose import open_backend
from minichar.devices.graph import WARM_UP, CudaGraph


@pytest.fixture
def counting(backend):
    """Return ``(step, calls, total, one)``. Each call to `step` adds `one` to `total`."""
    one, total = backend.to_device(np.ones(3)), backend.zeros((3,), "float64")
    calls = []

    def step():
        calls.append(None)
        total[...] = total + one

    return backend.recorded(step), calls, total, one


@pytest.fixture
def gpu(fake_cupy):
    fake_cupy()
    return open_backend("gpu")


def test_each_call_runs_one_step(counting, host):
    step, _, total, one = counting
    for n in range(1, 7):
        step()
        np.testing.assert_array_equal(host(total), [n] * 3)
    one[...] = 10.0  # the step must read the new value
    step()
    np.testing.assert_array_equal(host(total), [16] * 3)


def test_only_a_gpu_records_steps(counting, backend):
    step, calls, _, _ = counting
    for _ in range(7):
        step()
    assert len(calls) == (WARM_UP + 1 if backend.kind == "gpu" else 7)
    assert isinstance(step, CudaGraph) == (backend.kind == "gpu")


def test_a_graph_uses_a_separate_stream_and_restores_the_current_one(gpu):
    cuda, seen = gpu.xp.cuda, []
    step = gpu.recorded(lambda: seen.append(cuda.get_current_stream()))
    before = cuda.get_current_stream()
    for _ in range(3):
        step()
    assert seen == [step.stream] * 3
    assert cuda.get_current_stream() is before


def test_events_order_a_step_after_the_current_stream_and_before_later_work_on_it(gpu, monkeypatch):
    current, log = gpu.xp.cuda.get_current_stream(), []
    step = gpu.recorded(lambda: log.append("step"))
    names = {id(current): "caller", id(step.stream): "step", id(step.begin): "begin", id(step.end): "end"}
    for method in ("record", "wait_event"):
        monkeypatch.setattr(
            type(current),
            method,
            lambda stream, event, method=method: log.append((names[id(stream)], method, names[id(event)])),
        )
    monkeypatch.setattr(type(current), "synchronize", lambda stream: pytest.fail("the host waited"))
    before = [("caller", "record", "begin"), ("step", "wait_event", "begin")]
    after = [("step", "record", "end"), ("caller", "wait_event", "end")]
    for _ in range(WARM_UP + 1):
        step()
    assert log == [*before, "step", *after] * (WARM_UP + 1)
    log.clear()
    step()  # replayed
    assert log == before + after


def test_events_do_not_measure_times(gpu):
    """Timing makes an event slower."""
    step = gpu.recorded(lambda: None)
    assert step.begin._disable_timing
    assert step.end._disable_timing


class TestMemory:
    """Tests for a GPU whose remaining memory is in free blocks of the default pool."""

    @pytest.fixture
    def free_blocks(self, gpu, monkeypatch):
        """Return a list. While it is not empty, a graph's pool cannot allocate memory."""
        blocks, right = [], type(gpu.xp.cuda.MemoryPool()).malloc

        def malloc(pool, size):
            if blocks:
                raise MemoryError(f"Out of memory allocating {size} bytes")
            return right(pool, size)

        monkeypatch.setattr(type(gpu.xp.cuda.MemoryPool()), "malloc", malloc)

        def free_all_blocks():
            if gpu.xp.device_.capture is not None:
                pytest.fail("memory was freed during capture")
            blocks.clear()

        default = SimpleNamespace(free_all_blocks=free_all_blocks)
        monkeypatch.setattr(gpu.xp, "get_default_memory_pool", lambda: default)
        return blocks

    def test_they_are_freed_in_a_warm_up(self, gpu, free_blocks):
        one, total = gpu.to_device(np.ones(3)), gpu.zeros((3,), "float64")

        @gpu.recorded
        def step():
            total[...] = total + one

        free_blocks.append("a block")
        step()
        assert not free_blocks
        np.testing.assert_array_equal(gpu.to_host(total), [1] * 3)

    def test_they_are_not_freed_during_capture(self, gpu, free_blocks):
        a = gpu.to_device(np.ones(3))
        step = gpu.recorded(lambda: a + a)
        for _ in range(WARM_UP):
            step()
        free_blocks.append("a block")
        with pytest.warns(RuntimeWarning, match="MemoryError"):
            step()
        assert not free_blocks
        assert step.graph is None


class TestProducts:
    @pytest.fixture
    def product(self, gpu, generator):
        """Return ``(step, W, s, out)``; the step sets ``out`` to ``W @ s``."""
        W, s = (gpu.to_device(generator.normal(size=(3, 3))) for _ in range(2))
        out = gpu.zeros((3, 3), "float64")
        return gpu.recorded(lambda: gpu.matmul(W, s, out=out)), W, s, out

    def test_products_of_two_graphs_are_each_on_their_own_stream(self, product, gpu):
        """Products also run on the default stream between the captures, as they do during validation."""
        step, W, s, out = product
        second = gpu.zeros((3, 3), "float64")
        other = gpu.recorded(lambda: gpu.matmul(s, W, out=second))
        for run in (step, other):
            for _ in range(WARM_UP + 2):
                s += 1.0
                run()
                gpu.matmul(W, W)
        assert None not in (step.graph, other.graph)
        step()
        np.testing.assert_allclose(gpu.to_host(second), gpu.to_host(s) @ gpu.to_host(W), rtol=1e-13)
        np.testing.assert_allclose(gpu.to_host(out), gpu.to_host(W) @ gpu.to_host(s), rtol=1e-13)


class TestFallback:
    """Tests that a step that cannot be captured runs normally and that one warning names the cause."""

    CAUSES = (
        (lambda gpu, a: gpu.xp.matmul(a, a), "NotImplementedError: calling cuBLAS API"),
        (lambda gpu, a: float(a.sum()), "CUDARuntimeError: cudaErrorStreamCaptureUnsupported"),
        (lambda gpu, a: gpu.xp.cuda.get_current_stream().synchronize(), "StreamCaptureUnsupported"),
        (lambda gpu, a: gpu.to_device(np.ones(3)), "StreamCaptureUnsupported"),
    )

    @pytest.mark.parametrize(("operation", "cause"), CAUSES)
    def test_the_warning_names_the_cause_and_the_results_are_the_same(self, operation, cause, gpu):
        a, total = gpu.to_device(np.ones((2, 2))), gpu.zeros((), "float64")

        def run():
            total[...] = total + 1.0
            operation(gpu, a)

        step = gpu.recorded(run)
        for _ in range(WARM_UP):
            step()
        with pytest.warns(RuntimeWarning, match=cause) as warned:
            step()
        assert len(warned) == 1
        for _ in range(2):
            step()
        assert float(total) == WARM_UP + 3
        assert step.graph is None
        assert gpu.xp.device_.capture is None

    def test_two_steps_with_the_same_cause_print_one_warning(self, gpu):
        a = gpu.to_device(np.ones((2, 2)))
        steps = [gpu.recorded(lambda: float(a.sum())), gpu.recorded(lambda: float(a.sum()))]
        steps.append(gpu.recorded(lambda: gpu.xp.matmul(a, a)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for step in steps * (WARM_UP + 2):
                step()
        assert [step.graph for step in steps] == [None] * 3
        causes = [str(warning.message).partition("separately (")[2].partition(":")[0] for warning in caught]
        assert causes == ["CUDARuntimeError", "NotImplementedError"]

    @pytest.mark.parametrize(("method", "before"), [("begin_capture", WARM_UP), ("end_capture", WARM_UP + 1)])
    def test_a_capture_that_cannot_be_begun_or_ended(self, method, before, gpu, monkeypatch):
        stream = type(gpu.xp.cuda.get_current_stream())
        right = getattr(stream, method)

        def fail(self):
            if method == "end_capture":
                right(self)
            raise RuntimeError("the capture was invalidated\nmore")

        monkeypatch.setattr(stream, method, fail)
        calls = []
        step = gpu.recorded(lambda: calls.append(None))
        for _ in range(WARM_UP):
            step()
        with pytest.warns(RuntimeWarning, match=r"\(RuntimeError: the capture was invalidated\)$"):
            step()
        step()
        assert len(calls) == before + 2

    def test_a_capture_that_failed_in_another_process(self, gpu):
        told, a = [], gpu.zeros((), "float64")

        def run():
            a[...] = a + 1.0

        step = gpu.recorded(run, lambda recorded: bool(told.append(recorded)))
        for _ in range(WARM_UP):
            step()
        with pytest.warns(RuntimeWarning, match=r"\(the capture failed in another process\)$"):
            step()
        step()
        assert told == [True]
        assert step.graph is None
        assert float(a) == WARM_UP + 2

    def test_a_graph_that_cannot_be_uploaded(self, gpu, monkeypatch):
        """CuPy may instantiate a graph only when it is first uploaded or launched."""
        total = gpu.zeros((), "float64")

        def run():
            total[...] = total + 1.0

        step = gpu.recorded(run)
        step()
        stream = type(step.stream)
        right = stream.end_capture

        def end(self):
            graph = right(self)

            def fail(stream=None):
                raise RuntimeError("the graph cannot be instantiated\nmore")

            graph.upload = graph.launch = fail
            return graph

        monkeypatch.setattr(stream, "end_capture", end)
        step()
        with pytest.warns(RuntimeWarning, match=r"\(RuntimeError: the graph cannot be instantiated\)$"):
            step()
        step()
        assert float(total) == WARM_UP + 2
        assert step.graph is None

    def test_an_interrupted_capture_is_ended(self, gpu):
        total, keys = gpu.zeros((), "float64"), [None] * WARM_UP + ["Ctrl-C"]

        def run():
            total[...] = total + 1.0
            if keys and keys.pop(0):
                raise KeyboardInterrupt

        step = gpu.recorded(run)
        for _ in range(WARM_UP):
            step()
        with pytest.raises(KeyboardInterrupt):
            step()
        assert gpu.xp.device_.capture is None
        for _ in range(2):  # captured, then replayed
            step()
        assert step.graph is not None
        assert float(total) == WARM_UP + 2

    def test_an_error_of_the_step_itself_is_raised(self, gpu):
        @gpu.recorded
        def step():
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            step()
