"""Matrix products with minichar's own cuBLAS handles."""

import weakref
from threading import Thread

import cupy
import numpy as np
import pytest

from minichar.devices import cublas
from minichar.devices.choose import open_backend

M, K, N, G = 6, 5, 4, 3
LAYOUTS = {
    "whole": lambda W, s: (W, s),
    "columns of W, transposed": lambda W, s: (W[:, 1:-1].T, W[:, :2]),
    "rows of W": lambda W, s: (W[2:5], s),
    "s transposed": lambda W, s: (W[:, :N], s.T),
    "both transposed": lambda W, s: (W.T, W[:, :3].T.T),
    "one column of W, transposed": lambda W, s: (W[:, :1].T, W),
    "one column of s": lambda W, s: (W, s[:, 1:2]),
    "one row of W": lambda W, s: (W[3:4], s),
    "a row with a new axis": lambda W, s: (W[0][None], s),
    "one term": lambda W, s: (W[:, 2:3], s[1:2]),
    "one item": lambda W, s: (W[2:3, 1:2], s[:1, 3:4]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_product_of_views(layout, dtype, gpu, generator):
    """CuPy computes the complex products of the gradient check."""
    arrays = [generator.normal(size=shape).astype(dtype) for shape in ((M, K), (K, N))]
    wanted = np.matmul(*layout(*arrays))
    A, B = layout(*map(gpu.to_device, arrays))
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-13, "atol": 1e-13}
    found = gpu.matmul(A, B)
    assert found.dtype == dtype
    np.testing.assert_allclose(gpu.to_host(found), wanted, **close)
    # The output is a slice of a larger array, whose other elements must not change.
    for add in (False, True):
        start = generator.normal(size=(3, wanted.shape[0] + 1, 2, wanted.shape[1])).astype(dtype)
        there = gpu.to_device(start)
        assert (gpu.add_matmul if add else gpu.matmul)(A, B, out=there[1, 1:, 1]) is not None
        expected = start.copy()
        expected[1, 1:, 1] = wanted + (start[1, 1:, 1] if add else 0)
        np.testing.assert_allclose(gpu.to_host(there), expected, **close)


def test_a_matrix_is_multiplied_by_a_batch(gpu, generator):
    """As in exact layer normalisation."""
    ones, a = generator.normal(size=(1, K)), generator.normal(size=(G, K, N))
    found = gpu.matmul(gpu.to_device(ones), gpu.to_device(a))
    np.testing.assert_allclose(gpu.to_host(found), ones @ a, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    "use",
    [
        lambda gpu, A, B: gpu.matmul(A, A),
        lambda gpu, A, B: gpu.matmul(A, B, out=A),
        lambda gpu, A, B: gpu.matmul(A, B.astype("float32")),
        lambda gpu, A, B: gpu.matmul(A, B, out=gpu.zeros((N, M), "float64").T),
        lambda gpu, A, B: gpu.matmul(A[:, ::2], B[:3]),
        lambda gpu, A, B: gpu.matmul(A[::-1], B),
        lambda gpu, A, B: gpu.matmul(A[:0:-1].T, A[:5]),
        lambda gpu, A, B: gpu.matmul(cupy.broadcast_to(A[:1], (M, K)), B),
    ],
)
def test_shapes_and_layouts_that_cublas_would_misread_are_rejected(use, gpu):
    A, B = gpu.zeros((M, K), "float64"), gpu.zeros((K, N), "float64")
    with pytest.raises(ValueError, match=r"cannot multiply|contiguous"):
        use(gpu, A, B)


def test_the_address_of_the_last_stream_is_not_reused(gpu):
    a = gpu.zeros((M, M), "float64")
    with cupy.cuda.Stream(non_blocking=True) as stream:
        gpu.matmul(a, a)
    there = weakref.ref(stream)
    del stream
    assert there() is not None


def test_backends_of_a_gpu_share_a_handle_in_each_mode_and_each_thread_has_its_own(gpu):
    found, a = {}, gpu.zeros((M, M), "float64")

    def handles(thread):
        backends = open_backend("gpu"), open_backend("gpu:1"), open_backend("gpu", tf32=True)
        found[thread] = [backend.products.handle.value for backend in (*backends, open_backend("gpu:0"))]
        open_backend("gpu").matmul(a, a)

    for thread in (1, 2):
        other = Thread(target=handles, args=(thread,))
        other.start()
        other.join()
    for first, *others, again in found.values():
        assert first == again
        assert first not in others
    assert {*found[1]}.isdisjoint(found[2])
    assert len({*found[1]}) == 3


def test_the_workspace_outlives_the_thread(gpu):
    """A graph that was captured in the thread still uses it."""
    before, a = len(cublas.WORKSPACES), gpu.zeros((M, M), "float64")
    thread = Thread(target=gpu.matmul, args=(a, a))
    thread.start()
    thread.join()
    assert len(cublas.WORKSPACES) == before + 1


def test_each_stream_of_a_wavefront_has_its_own_workspace(gpu, monkeypatch):
    """Otherwise, products that run at the same time would overwrite each other's."""
    products, one, used = gpu.products, cupy.ones((1, 1)), []
    call = products.call

    def recording(name, *arguments):
        if name == "cublasSetWorkspace_v2":
            used.append(arguments[1])
        call(name, *arguments)

    monkeypatch.setattr(products, "call", recording)
    streams = products.lanes(3)
    for stream in (*streams, cupy.cuda.Stream(non_blocking=True)):
        with stream:
            products.matmul(one, one)
    assert len({*used}) == len(used) == 4
    assert products.lanes(2) == streams[:2]
