"""Tests for matrix products through a fake cuBLAS that reads memory at the pointers it receives."""

import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from cupy_double import open_double
from cupy_double.cublas import INVALID_VALUE

from minichar.devices import cublas
from minichar.devices.choose import open_backend, open_devices

M, K, N, G = 6, 5, 4, 3
DEFAULT_MATH, TF32_TENSOR_OP_MATH = 0, 3
"""Math modes in NVIDIA's header file."""


@pytest.fixture
def gpu():
    return open_double()


def test_library_is_the_one_that_cuda_pathfinder_finds(monkeypatch):
    pathfinder = pytest.importorskip("cuda.pathfinder")
    found = {"cublas": pathfinder.LoadedDL("/cuda/libcublas.so.12", False, 0, "test")}
    opened = []
    monkeypatch.setattr(pathfinder, "load_nvidia_dynamic_lib", found.__getitem__)
    monkeypatch.setattr(cublas.ctypes, "CDLL", opened.append)
    cublas.load_library()
    assert opened == ["/cuda/libcublas.so.12"]
    assert "cublas" in pathfinder.SUPPORTED_NVIDIA_LIBNAMES


W = slice(None), slice(None)
LAYOUTS = {
    "whole": (lambda W, s: (W, s)),
    "columns of W, transposed": (lambda W, s: (W[:, 1:-1].T, W[:, :2])),
    "rows of W": (lambda W, s: (W[2:5], s)),
    "s transposed": (lambda W, s: (W[:, :N], s.T)),
    "both transposed": (lambda W, s: (W.T, W[:, :3].T.T)),
    "one column of W, transposed": (lambda W, s: (W[:, :1].T, W)),
    "one column of s": (lambda W, s: (W, s[:, 1:2])),
    "one row of W": (lambda W, s: (W[3:4], s)),
    "a row with a new axis": (lambda W, s: (W[0][None], s)),
    "one term": (lambda W, s: (W[:, 2:3], s[1:2])),
    "one item": (lambda W, s: (W[2:3, 1:2], s[:1, 3:4])),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_product_of_views(layout, dtype, gpu, generator):
    arrays = [generator.normal(size=shape).astype(dtype) for shape in ((M, K), (K, N))]
    wanted = np.matmul(*layout(*arrays))
    A, B = layout(*map(gpu.to_device, arrays))
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-13, "atol": 1e-13}
    np.testing.assert_allclose(gpu.to_host(gpu.matmul(A, B)), wanted, **tolerance)
    assert str(gpu.matmul(A, B).dtype) == dtype
    # The output is a slice of a larger array, whose other elements must not change.
    for add in (False, True):
        start = generator.normal(size=(3, wanted.shape[0] + 1, 2, wanted.shape[1])).astype(dtype)
        there = gpu.to_device(start)
        assert (gpu.add_matmul if add else gpu.matmul)(A, B, out=there[1, 1:, 1]) is not None
        expected = start.copy()
        expected[1, 1:, 1] = wanted + (start[1, 1:, 1] if add else 0)
        np.testing.assert_allclose(gpu.to_host(there), expected, **tolerance)


BATCHES = {
    "a matrix and a batch": (lambda ones, a: (ones, a)),
    "a batch and a matrix": (lambda ones, a: (a, a[0].T)),
    "two batches": (lambda ones, a: (a.transpose(0, 2, 1), a)),
    "one batch of columns": (lambda ones, a: (ones, a[:, :, 1:3])),
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_a_batch_of_products(batch, gpu, generator):
    """Layer normalisation multiplies ``(1, H)`` by ``(gates, H, B)``."""
    arrays = generator.normal(size=(1, K)), generator.normal(size=(G, K, N))
    A, B = batch(*map(gpu.to_device, arrays))
    found = gpu.matmul(A, B)
    np.testing.assert_allclose(gpu.to_host(found), np.matmul(*batch(*arrays)), rtol=1e-13, atol=1e-13)


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
        lambda gpu, A, B: gpu.matmul(gpu.xp.broadcast_to(A[:1], (M, K)), B),
        lambda gpu, A, B: gpu.matmul(gpu.zeros((2, M, K), "float64"), gpu.zeros((3, K, N), "float64")),
    ],
)
def test_shapes_and_layouts_that_cublas_would_misread_are_rejected(use, gpu):
    A, B = gpu.zeros((M, K), "float64"), gpu.zeros((K, N), "float64")
    with pytest.raises(ValueError, match=r"cannot multiply|contiguous"):
        use(gpu, A, B)


def test_complex_products_are_computed_by_cupy(gpu, generator):
    """The complex-step gradient check uses complex128."""
    W, s = (generator.normal(size=(2, *shape)) for shape in ((M, K), (K, N)))
    W, s = W[0] + 1j * W[1], s[0] + 1j * s[1]
    there = gpu.to_device(W), gpu.to_device(s)
    wanted = W @ s
    np.testing.assert_allclose(gpu.to_host(gpu.matmul(*there)), wanted, rtol=1e-13)
    out = gpu.to_device(wanted)
    gpu.add_matmul(*there, out=out)
    np.testing.assert_allclose(gpu.to_host(out), 2 * wanted, rtol=1e-13)


class TestStream:
    def test_the_handle_follows_the_current_stream_and_keeps_its_workspace(self, gpu):
        A, B = gpu.zeros((M, K), "float64"), gpu.zeros((K, N), "float64")
        (handle,) = gpu.xp.cublas.handles.values()
        workspace = gpu.products.workspace.ptr, cublas.WORKSPACE
        for stream in (gpu.xp.cuda.Stream(), gpu.xp.cuda.Stream()):
            with stream:
                gpu.matmul(A, B)
                assert (handle.stream, handle.workspace) == (stream.ptr, workspace)
            gpu.matmul(A, B)
            assert (handle.stream, handle.workspace) == (0, workspace)

    def test_the_address_of_the_last_stream_is_not_reused(self, gpu):
        A, B = gpu.zeros((M, K), "float64"), gpu.zeros((K, N), "float64")
        with gpu.xp.cuda.Stream() as stream:
            gpu.matmul(A, B)
        there = weakref.ref(stream)
        del stream
        assert there() is not None

    @pytest.mark.parametrize(
        ("capability", "tf32", "mode"),
        [
            ("80", (), DEFAULT_MATH),
            ("80", (False,), DEFAULT_MATH),
            ("80", (True,), TF32_TENSOR_OP_MATH),
            ("120", (True,), TF32_TENSOR_OP_MATH),
            ("75", (True,), DEFAULT_MATH),  # Turing has no TF32
        ],
    )
    def test_float32_products_use_tf32_only_if_requested(self, capability, tf32, mode, fake_cupy):
        for open_gpu in (
            lambda: open_backend("gpu", *tf32),
            lambda: open_devices("gpu:0", *tf32)[0],
            lambda: open_devices("auto", *tf32)[1],
        ):
            cupy = fake_cupy(capability=capability)
            gpu = open_gpu()
            assert [handle.math for handle in cupy.cublas.handles.values()] == [mode]
            assert gpu.tf32 == gpu.describe().endswith(", TF32") == (mode == TF32_TENSOR_OP_MATH)

    def test_the_handle_of_another_thread_uses_the_same_mode(self, fake_cupy):
        cupy = fake_cupy()
        gpu = open_backend("gpu", tf32=True)
        A = gpu.zeros((M, M), "float32")
        thread = Thread(target=gpu.matmul, args=(A, A))
        thread.start()
        thread.join()
        assert [handle.math for handle in cupy.cublas.handles.values()] == [TF32_TENSOR_OP_MATH] * 2


def test_backends_of_the_same_gpu_share_a_handle_and_its_workspace(fake_cupy):
    cupy = fake_cupy(count=2)
    before = len(cublas.WORKSPACES)
    first, again = (open_backend("gpu:0").products for _ in range(2))
    others = [open_backend("gpu:1").products, open_backend("gpu:0", tf32=True).products]
    assert first is again
    assert len({first, *others}) == len(cupy.cublas.handles) == len(cublas.WORKSPACES) - before == 3


def no_library(cupy, patch):
    def load():
        raise ModuleNotFoundError("No module named 'cuda'\nmore")

    patch.setattr("minichar.devices.cupy.load_library", load)


def no_functions(cupy, patch):
    patch.setattr("minichar.devices.cupy.load_library", SimpleNamespace)


def no_products(cupy, patch):
    """Without a test product, the first training step would fail."""
    patch.setattr(cupy.cublas.cublasSgemm_v2, "function", lambda *arguments: INVALID_VALUE)


def no_results(cupy, patch):
    right = cupy.asnumpy

    def asnumpy(array):
        if array.dtype == "float32":
            raise RuntimeError("an asynchronous error")
        return right(array)

    patch.setattr(cupy, "asnumpy", asnumpy)


def no_memory(cupy, patch):
    def alloc(size):
        raise MemoryError("Out of memory allocating 33,554,432 bytes")

    patch.setattr(cupy.cuda, "alloc", alloc)


class TestFallback:
    @pytest.mark.parametrize(
        ("broken", "cause"),
        [
            (no_library, r".* \(ModuleNotFoundError: No module named 'cuda'\)$"),
            (no_functions, r".*\(AttributeError"),
            (no_products, ".* cublasSgemm_v2 returned CUBLAS_STATUS_INVALID"),
            (no_results, ".* an asynchronous error"),
            (no_memory, ".* Out of memory"),
        ],
    )
    def test_cupy_computes_the_products_and_no_step_is_captured(self, broken, cause, fake_cupy, generator):
        cupy = fake_cupy()
        with pytest.MonkeyPatch.context() as patch:
            broken(cupy, patch)
            with pytest.warns(RuntimeWarning, match=f"^cuBLAS cannot be used directly, so {cause}") as warned:
                gpu = open_backend("gpu")
        assert len(warned) == 1
        assert gpu.products is None
        assert gpu.tf32_note("float32") == "TF32 has no effect because cuBLAS cannot be used directly"
        a, b = generator.normal(size=(2, 3, 3))
        A, B = gpu.to_device(a), gpu.to_device(b)
        np.testing.assert_allclose(gpu.to_host(gpu.matmul(A, B)), a @ b, rtol=1e-13)
        np.testing.assert_allclose(gpu.to_host(gpu.add_matmul(A, B, out=A + 0.0)), a + a @ b, rtol=1e-13)
        steps = []
        gpu.repeat(gpu.recorded(lambda: steps.append(gpu)), 7)
        assert len(steps) == 7
        assert open_backend("gpu").products is not None  # the failure is not remembered

    def test_a_library_that_cannot_be_used_in_another_thread(self, fake_cupy):
        """Each thread has its own handle."""
        cupy = fake_cupy()
        assert open_backend("gpu").products is not None
        cupy.cublas.cublasCreate_v2.function = lambda *arguments: INVALID_VALUE
        words = "directly, .* cublasCreate_v2 returned CUBLAS_STATUS_INVALID"
        with pytest.warns(RuntimeWarning, match=words), ThreadPoolExecutor(1) as thread:
            gpu = thread.submit(open_backend, "gpu").result()
        assert gpu.products is None

    def test_an_error_of_cublas_is_raised(self, gpu, monkeypatch):
        monkeypatch.setattr(cublas, "layout", lambda X: (0, 1))
        A, B = gpu.zeros((M, K), "float64"), gpu.zeros((K, N), "float64")
        with pytest.raises(RuntimeError, match="cublasDgemm_v2 returned CUBLAS_STATUS_INVALID_VALUE"):
            gpu.matmul(A, B)


def test_each_thread_has_its_own_handle(gpu):
    A, B = gpu.zeros((M, K), "float64"), gpu.zeros((K, N), "float64")
    thread = Thread(target=gpu.matmul, args=(A, B))
    thread.start()
    thread.join()
    assert len(gpu.xp.cublas.handles) == 2
    # A graph that was captured in the thread still uses the workspace.
    kept = {workspace.ptr for workspace in cublas.WORKSPACES}
    assert {handle.workspace[0] for handle in gpu.xp.cublas.handles.values() if handle.workspace} <= kept
