"""Capture a step as a CUDA graph, so that a single launch runs all its operations."""

import gc
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any
from weakref import finalize

from minichar.extras import one_line

WARM_UP = 2
"""Number of warm-up calls before a step is captured. They compile kernels and allocate memory."""
RETIRED: list[Any] = []
"""The memory pools of graphs that no longer exist. CuPy does not free the unused blocks of a dropped pool."""


def free_retired() -> None:
    """Free the memory of graphs that no longer exist. Arrays that are still in use keep theirs."""
    pools = []
    with suppress(IndexError):  # other threads also take pools, and the garbage collector adds some
        while True:
            pools.append(RETIRED.pop())
    for pool in pools:
        pool.free_all_blocks()
        if pool.total_bytes():
            RETIRED.append(pool)


class CudaGraph:
    """A step captured as a CUDA graph after a few normal calls and replayed from then on.

    The step must use only arrays at fixed addresses. Temporary arrays are allocated from a separate memory
    pool, so that a replay cannot overwrite other memory. `agree` is called with whether the capture
    succeeded, and the graph is used only if it returns True: NCCL requires that either all ranks launch a
    graph or none do. Otherwise, `warn` is called with a message and the step continues to run normally.

    The step runs on its own stream, because the default stream cannot be captured. CUDA events ensure that
    the step runs after the caller's earlier work and before the caller's later work, without blocking the
    host.

    The memory of a graph that no longer exists is freed before the next capture, or when memory runs out.
    """

    def __init__(
        self,
        xp: ModuleType,
        step: Callable[[], None],
        agree: Callable[[bool], bool],
        warn: Callable[[str], None],
    ) -> None:
        self.xp, self.step, self.agree, self.warn, self.calls = xp, step, agree, warn, 0
        self.stream = xp.cuda.Stream(non_blocking=True)
        self.begin, self.end = (xp.cuda.Event(disable_timing=True) for _ in range(2))
        self.pool = xp.cuda.MemoryPool()
        finalize(self, RETIRED.append, self.pool).atexit = False
        self.graph: Any = None

    def __call__(self, times: int = 1) -> None:
        """Run the step the given number of times."""
        current = self.xp.cuda.get_current_stream()
        current.record(self.begin)
        self.stream.wait_event(self.begin)
        with self.stream:
            for _ in range(times):
                self._step()
        self.stream.record(self.end)
        current.wait_event(self.end)

    def _step(self) -> None:
        if self.calls == WARM_UP:
            self._capture()
        self.calls += 1
        if self.graph is not None:
            self.graph.launch(self.stream)
        else:
            self._run(self._malloc)

    def _run(self, malloc: Callable[[int], Any]) -> None:
        with self.xp.cuda.using_allocator(malloc):
            self.step()

    def _malloc(self, size: int) -> Any:
        """Allocate memory, freeing unused blocks if necessary.

        Do not call this method during capture: freeing memory can synchronise the device, which is not
        allowed while a stream is being captured.
        """
        try:
            return self.pool.malloc(size)
        except MemoryError:  # other pools may hold free blocks, which this pool cannot use
            free_retired()
            self.xp.get_default_memory_pool().free_all_blocks()
            return self.pool.malloc(size)

    def _capture(self) -> None:
        """Capture the step. Collect garbage first, because freeing memory can invalidate a capture."""
        gc.collect()
        free_retired()
        enabled = gc.isenabled()
        gc.disable()
        try:
            graph, why = self._captured()
        finally:
            if enabled:
                gc.enable()
        if self.agree(not why):
            self.graph = graph
        else:
            why = why or "the capture failed in another process"
            self.warn(f"a step cannot be captured, so each operation is launched separately ({why})")

    def _captured(self) -> tuple[Any, str]:
        """Return ``(graph, "")``, or ``(None, reason)`` if the step cannot be captured."""
        try:
            self.stream.begin_capture()
            try:
                self._run(self.pool.malloc)
            except BaseException:
                # Also after Ctrl-C, end the capture to make the stream usable again.
                with suppress(Exception):
                    self.stream.end_capture()
                raise
            graph = self.stream.end_capture()
            graph.upload(self.stream)  # raises any error of a lazy instantiation
        except Exception as error:  # CuPy versions differ in which operations can be captured
            return None, one_line(error)
        return graph, ""
