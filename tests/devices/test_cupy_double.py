"""Tests that the CuPy test double is at least as strict as CuPy and captures graphs in the same way."""

import numpy as np
import pytest
from cupy_double import CUDARuntimeError, DoubleOfCuPy, real

from minichar.devices.cublas import Products

H = np.ones((2, 3))


@pytest.fixture
def xp():
    return DoubleOfCuPy()


@pytest.fixture
def a(xp):
    return xp.asarray(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))


@pytest.fixture
def captured(xp):
    """Return a function that captures the function passed to it and returns the graph."""

    def capture(function):
        stream = xp.cuda.Stream(non_blocking=True)
        with stream, xp.cuda.using_allocator(xp.cuda.MemoryPool().malloc):
            stream.begin_capture()
            try:
                function()
            finally:
                graph = stream.end_capture()
        return graph

    return capture


def test_the_double_has_the_names_of_cupy_and_no_others(xp, a):
    for name in ("put", "take", "vdot", "nosuch", "float_", "asanyarray", "mat"):
        assert hasattr(xp, name) == hasattr(real, name)
    for name in ("tofile", "searchsorted", "ctypes", "setflags", "itemset"):
        assert hasattr(a, name) == hasattr(real.ndarray, name)
    with pytest.raises(TypeError, match="where"):
        xp.add(a, a, where=True)
    with pytest.raises(TypeError, match="mode"):
        a.take([0], mode="clip")


@pytest.mark.parametrize(
    "use",
    [
        lambda xp, a: np.array([a]),
        lambda xp, a: np.exp(a),
        lambda xp, a: np.testing.assert_array_equal(a, a),
        lambda xp, a: a + H,
        lambda xp, a: H + a,
        lambda xp, a: xp.add(a, a, out=H),
        lambda xp, a: xp.exp(1.0),
        lambda xp, a: xp.matmul(a, H.T),
        lambda xp, a: xp.stack([a, H]),
        lambda xp, a: a[np.array([0, 1])],
        lambda xp, a: a.__setitem__(..., H),
        lambda xp, a: a.__iadd__(H),
        lambda xp, a: range(a.sum()),
    ],
)
def test_host_arrays_are_rejected(xp, a, use):
    with pytest.raises((TypeError, ValueError)):
        use(xp, a)


def test_a_captured_call_takes_effect_at_each_launch(xp, a, captured):
    start = a.get()

    def step():
        nonlocal squares
        a[0] += 1.0
        squares = a * a  # allocated during capture

    squares = None
    graph = captured(step)
    np.testing.assert_array_equal(a.get(), start)
    assert np.isnan(squares.get()).all()
    for n in (1, 2):
        graph.launch()
        np.testing.assert_array_equal(a.get(), start + np.array([[n], [0]]))
        np.testing.assert_array_equal(squares.get(), a.get() ** 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, a: xp.asnumpy(a),
        lambda xp, a: xp.asarray(H),
        lambda xp, a: float(a.sum()),
        lambda xp, a: bool(a.any()),
        lambda xp, a: f"{a}",
        lambda xp, a: a[a > 2],
        lambda xp, a: a.__setitem__(a > 2, 0.0),
        lambda xp, a: xp.nonzero(a),
        lambda xp, a: xp.cuda.get_current_stream().synchronize(),
    ],
)
def test_synchronisation_during_capture_raises_an_error(xp, a, captured, function):
    with pytest.raises(CUDARuntimeError, match="Capture"):
        captured(lambda: function(xp, a))


def test_the_products_of_cupy_cannot_be_captured(xp, a, captured):
    with pytest.raises(NotImplementedError, match="cuBLAS"):
        captured(lambda: xp.matmul(a, a.T))


def test_an_operation_on_another_stream_cannot_be_captured(xp, a, captured):
    def step():
        with xp.cuda.Stream():
            xp.add(a, a, out=a)

    with pytest.raises(RuntimeError, match="stream other than"):
        captured(step)


@pytest.mark.parametrize(
    "function", [lambda a: a.sum(), lambda a: a[0], lambda a: float(a), lambda a: a.reshape(-1)]
)
def test_only_element_wise_functions_can_be_fused(xp, a, function):
    with pytest.raises(TypeError, match="fused function"):
        xp.fuse(kernel_name="bad")(function)(a)


def test_memory_used_by_a_captured_product_is_kept(xp, a, captured):
    products, out = Products(xp, xp.cublas), xp.zeros((2, 2))
    graph = captured(lambda: products.matmul(a * 2.0, (a * 3.0).T, out=out))
    others = [a * 7.0 for _ in range(50)]
    graph.launch()
    np.testing.assert_array_equal(out.get(), 6 * (a.get() @ a.get().T))
    assert len(others) == 50


def test_a_product_needs_a_workspace_and_the_stream_of_the_capture(xp, a, captured, monkeypatch):
    products = Products(xp, xp.cublas)
    products.matmul(a, a.T)  # sets the default stream
    with monkeypatch.context() as patch:
        patch.setattr(products, "use_current_stream", lambda: None)
        with pytest.raises(RuntimeError, match="product on a stream other than"):
            captured(lambda: products.matmul(a, a.T))
    xp.cublas.cublasSetStream_v2(products.handle, 0)  # discards the workspace
    with pytest.raises(RuntimeError, match="workspace"):
        products.matmul(a, a.T)


def test_capture_requires_the_memory_pool_of_the_graph(xp, a):
    stream, other = (xp.cuda.Stream(non_blocking=True) for _ in range(2))
    pool = xp.cuda.MemoryPool()
    with other, xp.cuda.using_allocator(pool.malloc):
        kept = a * 2.0
    with stream:
        stream.begin_capture()
        with pytest.raises(RuntimeError, match="default pool"):
            kept * 2.0
        with pytest.raises(RuntimeError, match="another graph"), xp.cuda.using_allocator(pool.malloc):
            kept * 2.0
        stream.end_capture()
