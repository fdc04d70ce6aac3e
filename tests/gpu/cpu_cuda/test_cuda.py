"""The replaced CUDA has the properties of CUDA that minichar depends on.

`test_checks` shows that errors in the order of streams are found, and `test_chunk_kernel` those in clusters.
"""

import cupy
import numpy as np
import pytest

from minichar.devices.cublas import Products


@pytest.fixture
def stream():
    return cupy.cuda.Stream(non_blocking=True)


class Graph:
    """A captured function. Its temporary arrays are kept."""

    def __init__(self, stream, function):
        self.pool = cupy.cuda.MemoryPool()
        with stream, cupy.cuda.using_allocator(self.pool.malloc):
            stream.begin_capture()
            try:
                self.kept = function()
            finally:
                self.graph = stream.end_capture()


class TestCapture:
    @pytest.mark.parametrize(
        "function",
        [
            lambda a: cupy.asnumpy(a),
            lambda a: cupy.asarray(np.ones(3)),
            lambda a: float(a.sum()),
            lambda a: a[a > 2],
            lambda a: cupy.cuda.get_current_stream().synchronize(),
            lambda a: cupy.cuda.Device().synchronize(),
            lambda a: cupy.cuda.get_current_stream().wait_event(EVENT()),
            lambda a: cupy.concatenate([a] * 9),  # copies the addresses of more than eight arrays
            lambda a: cupy.matmul(a * a[:, None], a[:, None]),
        ],
    )
    def test_what_cannot_be_captured_ends_in_an_error(self, function, stream):
        a = cupy.ones(3)
        cupy.cuda.Device().synchronize()
        with pytest.raises(RuntimeError):
            Graph(stream, lambda: function(a))
        assert cupy.asnumpy(a + a).tolist() == [2.0] * 3

    def test_events_of_a_graph_mean_nothing_outside_its_capture(self, stream):
        event = []
        Graph(stream, lambda: event.append(stream.record()))
        with pytest.raises(RuntimeError, match="CapturedEvent"):
            stream.wait_event(event[0])

    def test_work_on_the_default_stream_ends_the_capture_of_a_blocking_stream(self):
        stream, a = cupy.cuda.Stream(), cupy.ones(3)

        def step():
            with cupy.cuda.Stream.null:
                a[...] = 2.0

        with pytest.raises(RuntimeError, match="CaptureImplicit"):
            Graph(stream, step)

    def test_a_captured_product_needs_a_workspace(self, stream):
        products, a = Products(cupy), cupy.ones((3, 3))
        cupy.cuda.Device().synchronize()
        graph = Graph(stream, lambda: products.matmul(a, a))
        graph.graph.launch(stream)
        stream.synchronize()
        assert (cupy.asnumpy(graph.kept) == 3.0).all()
        products.call("cublasSetStream_v2", products.handle, stream.ptr)
        with pytest.raises(RuntimeError, match="CUBLAS_STATUS_ALLOC_FAILED"):
            Graph(stream, lambda: products.matmul(a, a))


def EVENT():
    """Return an event on the default stream."""
    return cupy.cuda.Stream.null.record()


def test_new_memory_is_not_zero():
    """Allocate from a new pool, because other tests have left free blocks in the default one."""
    with cupy.cuda.using_allocator(cupy.cuda.MemoryPool().malloc):
        assert np.isnan(cupy.asnumpy(cupy.empty(1000))).all()


CLUSTER = 'extern "C" __global__ void __cluster_dims__(C, 1, 1) nothing() {}'


def test_a_grid_has_whole_clusters_and_a_kernel_must_be_allowed_to_use_more_than_48_kib():
    kernel, size = cupy.RawKernel(CLUSTER, "nothing", options=("-DC=2",)), (48 << 10) + 4
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="InvalidClusterSize"):
        kernel((3,), (3,), ())
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="InvalidValue"):
        kernel((2,), (3,), (), shared_mem=size)
    kernel.max_dynamic_shared_size_bytes = size
    kernel((2,), (3,), (), shared_mem=size)
