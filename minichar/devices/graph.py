"""Recording a step as a CUDA graph, so that its hundreds of kernels start with one launch."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

WARM_UP = 2
"""Calls before a step is recorded: kernels are compiled and memory is taken in these."""


class CudaGraph:
    """A step that runs a few times, is captured as a CUDA graph, and is replayed from then on.

    It may read and write only arrays that stay where they are. What it allocates on the way
    comes from a memory pool of its own, so a replay cannot write into anybody else's memory.
    A step that calls what CuPy cannot capture runs as it is, every time.
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
        except NotImplementedError:  # CuPy 14 has cuBLAS, and so every product, refuse to be captured
            pass
        finally:
            graph = self.stream.end_capture()
        if recorded:
            self.graph = graph
