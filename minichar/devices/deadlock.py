"""Work around two deadlocks in dpnp 0.20.

When a device task finishes, it releases its arguments, which requires Python's global interpreter lock
(GIL). Two dpnp functions hold the GIL while they wait for earlier tasks, so they can deadlock. Without this
workaround, training on a CPU hangs after anywhere from a few hundred to tens of thousands of steps.
"""

from collections.abc import Callable
from typing import Any


def avoid_deadlocks(vector: Any, copying: Any, asarray: Callable[[Any], Any]) -> None:
    """Patch two dpnp 0.20 modules so that no function holds the GIL while it waits for a running task.

    Parameters
    ----------
    vector : module
        The module with oneMKL's vector functions, which are disabled. dpnp's own element-wise functions do
        not wait for earlier tasks and are just as fast in minichar.
    copying : module
        The module with the function that copies host arrays and scalars to the device. Scalars are passed to
        a kernel instead, which does not wait for earlier tasks. Before it copies an array, the function
        that replaces it waits for all queued tasks, without holding the GIL.
    asarray : callable
        ``dpnp.asarray``.

    Raises
    ------
    AttributeError
        If a module does not have the function that causes the deadlock.
    """
    copy, _ = copying._copy_from_numpy_into, vector._is_available
    if copy.__module__ == __name__:  # already patched
        return

    def copy_when_idle(there: Any, array: Any) -> None:
        if array.ndim == 0:
            asarray(there).fill(array.item())
        else:
            there.sycl_queue.wait()
            copy(there, array)

    vector._is_available = lambda: False
    copying._copy_from_numpy_into = copy_when_idle
