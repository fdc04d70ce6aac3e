"""The NVIDIA GPU backend, which uses CuPy."""

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from warnings import warn

from minichar.devices.backend import (
    Array,
    Backend,
    DeviceFailure,
    DeviceMissing,
    Function,
    Into,
    as_columns,
    unusable,
)
from minichar.devices.chunk_kernel import MOST, ChunkKernel, Shape, has_kernel
from minichar.devices.cublas import REAL, Products
from minichar.devices.failure import OPENED
from minichar.devices.graph import WARM_UP, CudaGraph
from minichar.devices.means import compile_with_mean
from minichar.devices.nccl import open_nccl
from minichar.devices.nesting import Nesting, flatten, nest, nesting_of
from minichar.devices.philox import Philox, PhiloxUniform
from minichar.devices.random import Uniform
from minichar.devices.wavefront import Lane, LayerInBlocks, LayerInKernel, Wavefront
from minichar.errors import MinicharError
from minichar.extras import install_command

NO_DEVICE = 100
"""The CUDA error code cudaErrorNoDevice: a driver is installed, but there is no GPU."""
AMPERE = 80
"""Compute capability 8.0, times ten. Older GPUs do not support TF32."""
KERNELS = 16
"""Lower bound on the number of kernels in a training step. If fewer are cached, no step has been compiled."""
ONEHOT = 16 << 20
"""Maximum size in bytes of the one-hot matrix in `CuPyBackend.sum_columns`, unless one column is larger."""
MISSING = ("failure finding", "failed to load", "cannot open", "could not be found")
"""Lower-case substrings of error messages about a missing CUDA library or header."""


class CuPyBackend(Backend):
    """Backend for an NVIDIA GPU, using CuPy.

    Attributes
    ----------
    products : Products
        Object whose matrix products of float32 and float64 arrays can be captured in a CUDA graph.
    """

    samples_in_blocks = True
    warm_up = WARM_UP + 1

    def __init__(self, index: int, xp: ModuleType, products: Products) -> None:
        super().__init__(f"gpu:{index}", xp)
        self.index, self.products, self.philox = index, products, Philox(self)
        self.tf32 = products.tf32
        self.warnings: set[str] = set()
        self.onehot = self.fuse(onehot)

    def matmul(self, A: Array, B: Array, out: Array | None = None) -> Array:
        """Return the matrix product ``A @ B``, written to `out` if given."""
        if A.dtype.name not in REAL:
            return super().matmul(A, B, out)
        if B.ndim == 3:  # in exact layer normalisation
            return self.xp.stack([self.products.matmul(A, matrix) for matrix in B], out=out)
        return self.products.matmul(A, B, out)

    def add_matmul(self, A: Array, B: Array, out: Array) -> Array:
        """Add the matrix product ``A @ B`` to `out`, and return `out`."""
        if A.dtype.name not in REAL:
            return super().add_matmul(A, B, out)
        return self.products.matmul(A, B, out, add=True)

    def zeros_of_steps(self, shape: tuple[int, int, int], dtype: Any) -> Array:
        """Return zeros ``(T, K, B)``, of which `as_columns` returns a view, so products need no copies."""
        T, K, B = shape
        return self.zeros((K, T, B), dtype).transpose(1, 0, 2)

    def matmul_steps(self, W: Array, columns: Array, out: Array) -> None:
        """Write the matrix product ``W @ columns`` directly to `out`, which is from `zeros_of_steps`."""
        self.matmul(W, columns, out=as_columns(out))

    def wavefront(self, layers: Sequence[Any], T: int) -> Wavefront:
        """Return an object that runs a network's layers on multiple streams, or with the chunk kernel."""
        kernels = [self.chunk_kernel(layer, T) for layer in layers]
        parts = [
            LayerInBlocks(layer) if kernel is None else LayerInKernel(layer, kernel)
            for layer, kernel in zip(layers, kernels, strict=True)
        ]
        # The chunk kernel runs all steps at once, because it reads the weights in each call.
        return Wavefront(parts, None if self.uses_chunk_kernel else self.run_lanes)

    def run_lanes(self, lanes: Sequence[Lane], blocks: Sequence[slice]) -> None:
        """Run each lane over the blocks on its own stream.

        A lane runs on a block while the lane before it runs on the next block. A step that is part of a
        network with L layers then takes about the time of one layer.
        """
        caller, streams = self.xp.cuda.get_current_stream(), self.products.lanes(len(lanes))
        begin = self._record(caller)
        for block in blocks:
            before = begin
            for lane, stream in zip(lanes, streams, strict=True):
                stream.wait_event(before)
                with stream:
                    lane(block)
                before = self._record(stream)
        caller.wait_event(before)

    def _record(self, stream: Any) -> Any:
        event = self.xp.cuda.Event(disable_timing=True)
        stream.record(event)
        return event

    def uniform(self, *words: int) -> Uniform:
        """Return a uniform random number generator on the device, seeded with `words`."""
        return PhiloxUniform(words, self.philox)

    def sum_columns(self, columns: Array, ids: Array, out: Array) -> None:
        """Set ``out[:, k] = Σ columns[:, j] over ids[j] = k`` with one-hot matrix products.

        In a captured step, array sizes must not depend on the ids. Atomic additions would use less memory,
        but their order, and thus the rounding, would vary between runs. For a large vocabulary, the one-hot
        matrix (N, V) takes gigabytes, so it is built in blocks of columns, each as wide as `ONEHOT` allows.
        """
        N, V = len(ids), out.shape[1]
        width, one = max(1, ONEHOT // (N * (1 + columns.itemsize))), columns.dtype.type(1)
        for first in range(0, V, width):
            block = self.xp.arange(first, min(first + width, V))  # (width,)
            (onehot,) = self.onehot(ids[:, None], block, one)  # (N, width)
            self.matmul(columns, onehot, out=out[:, first : first + width])
            del onehot  # free the memory before the next block is allocated

    def fuse(self, function: Function) -> Function:
        """Return a function that runs `function` as a single kernel.

        `cupy.fuse` supports only arrays, so tuples are flattened for each call and restored
        afterwards. A result that is also an argument is returned without a copy. If a tuple of results is
        written to a block, views of the block are returned.
        """
        xp, where = self.xp, f"{function.__module__.rpartition('.')[2]}_{function.__name__}"

        @cache  # needed because CuPy's cache distinguishes arrays only by dtype and ndim
        def kernel_for(nesting: Nesting, written: tuple[int, ...]) -> tuple[Function, dict[str, Any]]:
            self.announce_compilation()
            traced: dict[str, Any] = {}

            def flat(*arrays: Array) -> tuple[Array, ...] | None:
                values = nest(nesting, arrays)
                arguments, outs = values[: len(values) - len(written)], values[len(values) - len(written) :]
                results = list(function(xp, *arguments))
                for k, out in zip(written, outs, strict=True):
                    for target, result in zip(out, flatten([results[k]]), strict=True):
                        target[...] = result
                    if isinstance(results[k], tuple):
                        results[k] = out
                known = {id(array): k for k, array in enumerate(arrays)}
                traced["results"] = nesting_of(results)
                traced["sources"] = [known.get(id(result)) for result in flatten(results)]
                return tuple(array for array in flatten(results) if id(array) not in known) or None

            return xp.fuse(kernel_name=where)(flat), traced

        def call(*arguments: Any, into: Into = ()) -> list[Any]:
            # A block (G, H, B) is passed as a tuple of G arrays.
            tuples = [tuple(one) if getattr(one, "ndim", 0) == 3 else one for one in arguments]
            shape = next(flatten(tuples)).shape
            values = [*tuples, *(tuple(out.reshape(-1, *shape)) for _, out in into)]
            arrays = list(flatten(values))
            kernel, traced = kernel_for(nesting_of(values), tuple(k for k, _ in into))
            made = kernel(*arrays)
            new = iter(made if isinstance(made, tuple) else (made,))
            results = (next(new) if k is None else arrays[k] for k in traced["sources"])
            return nest(traced["results"], results)

        return call

    def fuse_with_mean(self, function: Function, H: int, dtype: Any) -> Function:
        """Return a function that runs all given calls of `function` as a single kernel."""
        return compile_with_mean(self.xp, function, H)

    def chunk_kernel(self, layer: Any, T: int) -> ChunkKernel | None:
        """Return a `ChunkKernel` for a layer, or None if the device or the layer does not suit it."""
        _, H, B = layer.start.shape
        name = layer.cell.name
        if not self.uses_chunk_kernel or layer.start.dtype != "float32" or layer.norms:
            return None
        fits = T * B * H * MOST < 1 << 31  # the kernel has 32-bit indices
        if not fits or not has_kernel(self.xp, self.index, name, H):
            return None
        self.announce_compilation()
        return ChunkKernel(self.xp, self.index, Shape(name, H), T, B)

    def recorded(self, step: Function, agree: Callable[[bool], bool] = bool) -> Function:
        """Return a function that captures `step` as a CUDA graph after a warm-up, and then replays it."""
        self.announce_compilation()
        return CudaGraph(self.xp, step, agree, self._warn_once)

    def _warn_once(self, message: str) -> None:
        if message not in self.warnings:  # all steps are likely to fail for the same reason
            self.warnings.add(message)
            warn(message, RuntimeWarning, stacklevel=4)

    def all_reduce(self, comm: Any) -> Callable[[Array, Array], None] | None:
        """Return a function that sums arrays over the ranks with NCCL, or None if NCCL cannot be used."""
        return open_nccl(self.xp, self.index, comm)

    def announce_compilation(self) -> None:
        """Announce, at most once, that the first step compiles kernels, unless they seem to be cached."""
        folder = Path(os.environ.get("CUPY_CACHE_DIR", os.path.expanduser("~/.cupy/kernel_cache")))
        if len(list(folder.glob("*.cubin"))) < KERNELS:
            once = "this happens only once because CuPy caches them in"
            self.announce(f"compiling GPU kernels; {once} {folder}")
            self.announce = lambda notice: None

    def describe(self) -> str:
        """Return the versions of CuPy and CUDA, the name and memory of the GPU, and how steps are run.

        CUDA versions are given as 1000 · major + 10 · minor.
        """
        runtime = self.xp.cuda.runtime
        properties = runtime.getDeviceProperties(self.index)
        modes = {
            "TF32": self.tf32,
            "chunk kernel": self.uses_chunk_kernel,
            "no CUDA graphs": bool(self.warnings),
        }
        hardware = (
            f"CuPy {self.xp.__version__}, CUDA driver {runtime.driverGetVersion()}, runtime "
            f"{runtime.runtimeGetVersion()}, on {self.name}: {properties['name'].decode()}, "
            f"{properties['totalGlobalMem'] / 1e9:.0f} GB"
        )
        return ", ".join([hardware, *(mode for mode, active in modes.items() if active)])


def onehot(xp: ModuleType, ids: Array, block: Array, one: Array) -> tuple[Array]:
    """Return `one` where ids equal a block's, and otherwise 0."""
    return ((ids == block) * one,)


def open_cupy(index: int, tf32: bool = False) -> CuPyBackend:
    """Check that CUDA GPU `index` works, and return its backend. TF32 is used if requested and supported."""
    name = f"gpu:{index}"
    try:
        cupy = import_module("cupy")
    except Exception as error:  # CuPy is missing, or too old for the installed NumPy
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        kind = DeviceMissing if missing else MinicharError
        raise unusable("gpu", "requires CuPy", error, install_command("gpu"), kind) from error
    version = f"CuPy {cupy.__version__}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        hidden = "check whether CUDA_VISIBLE_DEVICES hides it"
        remedy = hidden if error.status == NO_DEVICE else "install or update the driver"
        missing = error.status == NO_DEVICE or not cupy.cuda.runtime.driverGetVersion()  # 0: no driver
        kind = DeviceMissing if missing else MinicharError
        raise unusable(name, f"{version} found no usable NVIDIA GPU", error, remedy, kind) from error
    if index >= count:
        raise DeviceMissing(f"device {name}: no such GPU; {count} found, numbered from 0")
    try:
        device = cupy.cuda.Device(index)
        device.use()
        tf32 = tf32 and int(device.compute_capability) >= AMPERE
        backend = CuPyBackend(index, cupy, products_on(cupy, index, tf32))
        one = cupy.tanh(cupy.ones((2, 2), "float32"))
        cupy.asnumpy(backend.matmul(one, one))  # synchronises, so asynchronous errors are raised here
    except Exception as error:  # for example, a CUDA library is missing or the GPU is busy
        what = f"a test computation with {version} failed"
        missing = isinstance(error, ImportError) or any(part in str(error).lower() for part in MISSING)
        remedy = install_command("gpu") if missing else "check the GPU with nvidia-smi"
        raise unusable(name, what, error, remedy, DeviceFailure) from error
    OPENED.append(name)
    return backend


@cache  # workspaces are never freed, so they are shared
def products_on(cupy: ModuleType, index: int, tf32: bool) -> Products:
    """Return the shared `Products` for GPU `index`, which must be the current device."""
    return Products(cupy, tf32)
