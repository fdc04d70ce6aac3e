"""A workaround for two deadlocks in dpnp.

When a task on the device finishes, it releases its arguments, which requires Python's global interpreter
lock. Two functions of dpnp wait for earlier tasks while they hold that lock, so both sides wait for ever.
Training on a CPU deadlocks after a few hundred to a few ten thousand steps.
"""

from typing import Any


def avoid_deadlocks(vector: Any, copying: Any) -> None:
    """Patch two modules of dpnp 0.20 so that they do not wait while holding the lock.

    Parameters
    ----------
    vector : module
        oneMKL's vector functions, which are disabled. dpnp's own element-wise functions do not wait,
        and are as fast here.
    copying : module
        Copies host arrays and numbers to device arrays. The patched function waits for the queue
        without the lock before it copies.
    """
    vector._is_available = lambda: False
    copy = copying._copy_from_numpy_into
    if copy.__module__ == __name__:  # already patched
        return

    def copy_when_idle(there: Any, array: Any) -> None:
        there.sycl_queue.wait()
        copy(there, array)

    copying._copy_from_numpy_into = copy_when_idle
