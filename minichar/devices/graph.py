"""Record a step as a CUDA graph, so that one launch starts its hundreds of kernels."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

WARM_UP = 2
"""Calls before a step is recorded, in which kernels are compiled and memory is allocated."""


class CudaGraph:
    """A step that runs a few times, is captured as a CUDA graph, and is replayed from then on.

    The step may use only arrays at fixed addresses. Its temporaries are allocated from a separate
    memory pool, so a replay cannot overwrite other memory. A step with calls that CuPy cannot
    capture is never recorded, and runs normally.
    """

    def __init__(self, xp: ModuleType, step: Callable[[], None]) -> None:
        self.xp, self.step, self.calls = xp, step, 0
        self.stream = xp.cuda.Stream(non_blocking=True)
        self.pool = xp.cuda.MemoryPool()
        self.graph: Any = None

    def __call__(self) -> None:
        """Run the step."""
        before = self.xp.cuda.get_current_stream()
        before.synchronize()
        with self.stream:
            if self.calls == WARM_UP:
                self._record()
            self.calls += 1
            if self.graph is not None:
                self.graph.launch(self.stream)
            else:
                self._run()
        self.stream.synchronize()

    def _run(self) -> None:
        with self.xp.cuda.using_allocator(self.pool.malloc):
            self.step()

    def _record(self) -> None:
        recorded = False
        self.stream.begin_capture()
        try:
            self._run()
            recorded = True
        except NotImplementedError:  # CuPy 14 refuses to capture cuBLAS, so every matrix product
            pass
        finally:
            graph = self.stream.end_capture()
        if recorded:
            self.graph = graph
