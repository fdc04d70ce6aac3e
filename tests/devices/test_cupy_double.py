"""Tests that the CuPy test double is at least as strict as CuPy and captures graphs in the same way."""

import numpy as np
import pytest
from cupy_double import CUDARuntimeError, DoubleOfCuPy, method_signature, real

from minichar.devices.cublas import Products


@pytest.fixture
def xp():
    return DoubleOfCuPy()


@pytest.fixture
def a(xp):
    return xp.asarray(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))


H = np.ones((2, 3))


class TestNames:
    @pytest.mark.parametrize("name", ["put", "take", "vdot", "nosuch", "float_", "asanyarray", "mat"])
    def test_the_double_has_the_names_of_cupy_and_no_others(self, xp, name):
        assert hasattr(xp, name) == hasattr(real, name)

    @pytest.mark.parametrize("name", ["tofile", "searchsorted", "ctypes", "setflags", "itemset"])
    def test_arrays_have_the_names_of_cupy_arrays_and_no_others(self, a, name):
        assert hasattr(a, name) == hasattr(real.ndarray, name)

    def test_functions_accept_the_same_keywords_as_in_cupy(self, xp, a):
        ids = xp.asarray(np.array([0, 5]))
        with pytest.raises(TypeError, match="mode"):
            xp.take(a, ids, axis=1, mode="clip")
        np.testing.assert_array_equal(xp.take(a, ids, axis=1).get(), [[1, 3], [4, 6]])  # indices wrap around
        with pytest.raises(TypeError, match="where"):
            xp.add(a, a, where=True)
        with pytest.raises(TypeError, match="initial"):
            xp.max(a, initial=0.0)
        with pytest.raises(TypeError, match="order"):
            xp.add(a, a, order="C")

    def test_methods_accept_the_same_keywords_as_in_cupy(self, a):
        with pytest.raises(TypeError, match="where"):
            a.sum(where=True)
        with pytest.raises(TypeError, match="mode"):
            a.take([0], mode="clip")
        assert a.sum(axis=0, keepdims=True).shape == (1, 3)

    def test_the_signature_of_every_method_can_be_parsed(self):
        def parsed(name):
            try:
                method_signature(name)
            except ValueError:
                return False
            return True

        names = [name for name in dir(real.ndarray) if name[0] != "_"]
        methods = [name for name in names if callable(getattr(real.ndarray, name))]
        assert {name for name in methods if not parsed(name)} <= {"mdspan"}
        assert len(methods) > 40

    def test_submodules_have_no_additional_names(self, xp):
        with pytest.raises(AttributeError):
            xp.cuda.nosuch
        with pytest.raises(AttributeError):
            xp.cuda.runtime.nosuch
        with pytest.raises(NotImplementedError):
            xp.cuda.texture


class TestMixing:
    @pytest.mark.parametrize(
        "use",
        [
            lambda xp, a: np.asarray(a),
            lambda xp, a: np.array([a]),
            lambda xp, a: np.exp(a),
            lambda xp, a: np.sum(a),
            lambda xp, a: np.stack([a, a]),
            lambda xp, a: np.testing.assert_array_equal(a, a),
            lambda xp, a: a + H,
            lambda xp, a: H + a,
            lambda xp, a: a > H,
            lambda xp, a: xp.add(a, H),
            lambda xp, a: xp.add(a, a, out=H),
            lambda xp, a: xp.exp(H),
            lambda xp, a: xp.exp(1.0),
            lambda xp, a: xp.matmul(a, H.T),
            lambda xp, a: xp.stack([a, H]),
            lambda xp, a: xp.where(a > 0, H, a),
            lambda xp, a: xp.sum(H),
            lambda xp, a: a.take(np.array([0])),
            lambda xp, a: a.dot(H.T),
            lambda xp, a: a[np.array([0, 1])],
            lambda xp, a: a[:, [0, 1]],
            lambda xp, a: range(a.sum()),
        ],
    )
    def test_host_arrays_are_rejected(self, xp, a, use):
        with pytest.raises((TypeError, ValueError)):
            use(xp, a)

    def test_host_arrays_are_rejected_in_assignments(self, a):
        with pytest.raises(TypeError):
            a[...] = H
        with pytest.raises(TypeError):
            a[H > 0] = 0.0
        with pytest.raises(TypeError):
            a += H
        host = H.copy()
        with pytest.raises(TypeError):
            host += a
        with pytest.raises(TypeError):
            host[...] = a
        np.testing.assert_array_equal(a.get(), [[1, 2, 3], [4, 5, 6]])

    def test_scalars_are_accepted(self, xp, a):
        np.testing.assert_array_equal((np.float64(1) + a * 2).get(), 1 + 2 * a.get())
        a[0] = 7
        a -= 1.0
        np.testing.assert_array_equal(xp.minimum(5.0, a).get(), [[5, 5, 5], [3, 4, 5]])

    def test_a_reduction_stays_on_the_device(self, xp, a):
        total = a.sum()
        assert type(total) is type(a)
        assert total.shape == ()
        before = dict(xp.crossings)
        assert float(total) == 21.0
        assert bool(total > 0)
        assert xp.crossings["to_host"] == before["to_host"] + 2

    def test_views_share_memory(self, a):
        a.T[0] = 9.0
        a.reshape(-1)[1:2] = 8.0
        np.testing.assert_array_equal(a.get(), [[9, 8, 3], [9, 5, 6]])


class TestProducts:
    """Tests for the fake cuBLAS, called through `Products`."""

    @pytest.fixture
    def products(self, xp):
        return Products(xp, xp.cublas)

    def capture(self, xp, step):
        stream = xp.cuda.Stream(non_blocking=True)
        with stream, xp.cuda.using_allocator(xp.cuda.MemoryPool().malloc):
            stream.begin_capture()
            try:
                step()
            finally:
                graph = stream.end_capture()
        return graph

    def test_a_captured_product_takes_effect_at_each_launch(self, xp, a, products):
        out = xp.zeros((2, 2))
        graph = self.capture(xp, lambda: products.matmul(a, a.T, out=out))
        assert not out.get().any()
        a *= 2.0
        graph.launch()
        np.testing.assert_array_equal(out.get(), a.get() @ a.get().T)

    def test_memory_used_by_a_captured_product_is_kept(self, xp, a, products):
        out = xp.zeros((2, 2))
        graph = self.capture(xp, lambda: products.matmul(a * 2.0, (a * 3.0).T, out=out))
        others = [a * 7.0 for _ in range(50)]
        graph.launch()
        np.testing.assert_array_equal(out.get(), 6 * (a.get() @ a.get().T))
        assert len(others) == 50

    def test_a_product_on_another_stream_is_refused(self, xp, a, products, monkeypatch):
        products.matmul(a, a.T)  # sets the default stream
        monkeypatch.setattr(products, "use_current_stream", lambda: None)
        with pytest.raises(RuntimeError, match="product on a stream other than"):
            self.capture(xp, lambda: products.matmul(a, a.T))
        products.matmul(a, a.T)

    def test_a_product_without_a_workspace_is_refused(self, xp, a, products):
        products.matmul(a, a.T)
        xp.cublas.cublasSetStream_v2(products.handle, 0)  # discards the workspace
        with pytest.raises(RuntimeError, match="workspace"):
            products.matmul(a, a.T)

    def test_wrong_argument_types_are_detected(self, xp, a, products):
        xp.cublas.cublasDgemm_v2.argtypes = None
        with pytest.raises(AssertionError):
            products.matmul(a, a.T)


class TestFuse:
    def test_element_wise_functions_can_be_fused(self, xp, a):
        out = xp.zeros_like(a)

        @xp.fuse(kernel_name="square")
        def square(a, out):
            xp.multiply(a, a, out=out)

        square(a, out)
        np.testing.assert_array_equal(out.get(), a.get() ** 2)

    @pytest.mark.parametrize(
        "function",
        [
            lambda xp, a: a.sum(),
            lambda xp, a: xp.matmul(a, a.T),
            lambda xp, a: xp.zeros_like(a),
            lambda xp, a: a[0],
            lambda xp, a: a.__setitem__(..., a.sum()),
            lambda xp, a: float(a),
            lambda xp, a: a.reshape(-1),
            lambda xp, a: a.real,
        ],
    )
    def test_other_functions_cannot_be_fused(self, xp, a, function):
        with pytest.raises(TypeError, match="fused function"):
            xp.fuse(kernel_name="bad")(lambda a: function(xp, a))(a)
        a + a  # other operations still work

    def test_a_fused_function_can_only_overwrite_a_whole_array(self, xp, a):
        with pytest.raises(ValueError, match="supports"):
            xp.fuse(kernel_name="bad")(lambda a: a.__setitem__(0, a))(a)
        xp.fuse(kernel_name="good")(lambda a: a.__setitem__(..., a + a))(a)

    def test_overlapping_arrays_raise_an_error(self, xp, a):
        flat = a.reshape(-1)
        with pytest.raises(ValueError, match="race"):
            xp.fuse(kernel_name="shift")(lambda x, y: xp.add(x, 1.0, out=y))(flat[:-1], flat[1:])


class TestCapture:
    @pytest.fixture
    def captured(self, xp):
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

    def test_a_captured_call_takes_effect_at_each_launch(self, xp, a, captured):
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

    def test_the_graph_reads_the_current_values_of_arrays_at_launch(self, xp, a, captured):
        rate, out = xp.asarray(np.array(2.0)), xp.zeros_like(a)
        graph = captured(lambda: xp.multiply(a, rate, out=out))
        rate[...] = 3.0
        graph.launch()
        np.testing.assert_array_equal(out.get(), 3 * a.get())

    def test_a_python_number_is_a_constant_in_the_graph(self, xp, a, captured):
        rate, out = 2.0, xp.zeros_like(a)
        graph = captured(lambda: xp.multiply(a, rate, out=out))
        rate = 3.0
        graph.launch()
        np.testing.assert_array_equal(out.get(), 2 * a.get())

    @pytest.mark.parametrize(
        "function",
        [
            lambda xp, a: xp.asnumpy(a),
            lambda xp, a: xp.asarray(H),
            lambda xp, a: a.get(),
            lambda xp, a: a.sum().item(),
            lambda xp, a: float(a.sum()),
            lambda xp, a: bool(a.any()),
            lambda xp, a: a.tolist(),
            lambda xp, a: a.tobytes(),
            lambda xp, a: str(a),
            lambda xp, a: repr(a),
            lambda xp, a: f"{a}",
            lambda xp, a: a[a > 2],
            lambda xp, a: a.__setitem__(a > 2, 0.0),
            lambda xp, a: xp.unique(a),
            lambda xp, a: xp.nonzero(a),
            lambda xp, a: a.nonzero(),
            lambda xp, a: xp.where(a > 0),
            lambda xp, a: xp.cuda.get_current_stream().synchronize(),
            lambda xp, a: xp.cuda.Event().synchronize(),
        ],
    )
    def test_synchronisation_during_capture_raises_an_error(self, xp, a, captured, function):
        with pytest.raises(CUDARuntimeError, match="Capture"):
            captured(lambda: function(xp, a))

    @pytest.mark.parametrize("allocate", [lambda xp, a: a * 2.0, lambda xp, a: xp.cuda.alloc(8)])
    def test_capture_requires_the_memory_pool_of_the_graph(self, xp, a, allocate):
        stream, other = (xp.cuda.Stream(non_blocking=True) for _ in range(2))
        pool = xp.cuda.MemoryPool()
        with other, xp.cuda.using_allocator(pool.malloc):
            allocate(xp, a)
        with stream:
            stream.begin_capture()
            with pytest.raises(RuntimeError, match="default pool"):
                allocate(xp, a)
            with pytest.raises(RuntimeError, match="another graph"), xp.cuda.using_allocator(pool.malloc):
                allocate(xp, a)
            with xp.cuda.using_allocator(xp.cuda.MemoryPool().malloc):
                allocate(xp, a)
            stream.end_capture()

    @pytest.mark.parametrize(
        "function",
        [
            lambda xp, a: xp.matmul(a, a.T),
            lambda xp, a: a @ a.T,
            lambda xp, a: xp.matmul(a, a.T, out=a[:, :2]),
            lambda xp, a: xp.dot(a, a.T),
            lambda xp, a: xp.tensordot(a, a),
            lambda xp, a: xp.inner(a, a),
            lambda xp, a: a.dot(a.T),
        ],
    )
    def test_the_products_of_cupy_cannot_be_captured(self, xp, a, captured, function):
        with pytest.raises(NotImplementedError, match="cuBLAS"):
            captured(lambda: function(xp, a))
        function(xp, a)

    @pytest.mark.parametrize(
        "function",
        [
            lambda xp, a: xp.add(a, a, out=a),
            lambda xp, a: a * 2.0,
            lambda xp, a: a.__setitem__(0, 1.0),
            lambda xp, a: xp.copyto(a, a + 0.0),
            lambda xp, a: xp.put_along_axis(a, xp.zeros((1, 3), "int64"), 1.0, axis=0),
            lambda xp, a: xp.add.at(a, 0, 1.0),
            lambda xp, a: xp.fuse(kernel_name="square")(lambda a: a * a)(a),
        ],
    )
    def test_an_operation_on_another_stream_cannot_be_captured(self, xp, a, captured, function):
        other = xp.cuda.Stream()

        def step():
            with other:
                function(xp, a)

        with pytest.raises(RuntimeError, match=r"stream other than|pool of another"):
            captured(step)
        captured(lambda: function(xp, a))

    def test_a_failed_capture_cannot_be_ended(self, xp, a):
        stream = xp.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            with pytest.raises(CUDARuntimeError, match="Unsupported"):
                a.get()
            with pytest.raises(CUDARuntimeError, match="Invalidated"):
                stream.end_capture()
        assert xp.device_.capture is None

    def test_a_captured_stream_cannot_wait_for_work_outside_the_capture(self, xp, captured):
        event = xp.cuda.get_current_stream().record()
        with pytest.raises(CUDARuntimeError, match="Isolation"):
            captured(lambda: xp.cuda.get_current_stream().wait_event(event))
        captured(lambda: xp.cuda.get_current_stream().wait_event(xp.cuda.get_current_stream().record()))

    def test_only_the_current_stream_can_be_captured(self, xp):
        with pytest.raises(RuntimeError, match="current"):
            xp.cuda.Stream(non_blocking=True).begin_capture()

    def test_a_blocking_stream_cannot_be_captured(self, xp):
        stream = xp.cuda.Stream()
        with stream, pytest.raises(RuntimeError, match="blocking"):
            stream.begin_capture()


def test_the_runtime_raises_the_same_errors_as_cuda(xp):
    assert xp.cuda.runtime.getDeviceCount() == 1
    with pytest.raises(CUDARuntimeError, match="InvalidDevice"):
        xp.cuda.Device(1).use()
    with pytest.raises(CUDARuntimeError, match="InsufficientDriver"):
        DoubleOfCuPy(error=35).cuda.runtime.getDeviceCount()
