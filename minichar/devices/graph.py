"""Capture a training step as a CUDA graph, so that a single launch runs all its kernels."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

WARM_UP = 2
"""Number of warm-up calls before a step is captured. They compile kernels and allocate memory."""


class CudaGraph:
    """A step that runs normally a few times, is then captured as a CUDA graph, and is replayed from then on.

    The step must use only arrays at fixed addresses. Its temporary arrays are allocated from a
    separate memory pool, so that a replay cannot overwrite other memory. If CuPy cannot capture one
    of the step's calls, the step always runs normally.
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
        except NotImplementedError:  # CuPy 14 cannot capture cuBLAS calls, such as matrix products
            pass
        finally:
            graph = self.stream.end_capture()
        if recorded:
            self.graph = graph
