"""Two places where an OpenCL device's module would stand still for ever, and how it is kept from that.

What was started on the device gives its arguments back when it is done, for which it needs Python's
interpreter lock. Two of dpnp's functions wait for what was started before *while they hold that lock*,
so neither goes on: in a training run on a CPU that happens within some hundred or some ten thousand steps.
"""

from typing import Any


def avoid_deadlocks(vector: Any, copying: Any) -> None:
    """Change two modules of dpnp 0.20 so that nobody waits with the lock in hand.

    Parameters
    ----------
    vector : module
        oneMKL's vector functions. dpnp's own element-wise functions take their place: they do not
        wait, and are no slower here.
    copying : module
        How a host array or number gets into a device array. It waits, first without the lock.
    """
    vector._is_available = lambda: False
    copy = copying._copy_from_numpy_into
    if copy.__module__ == __name__:  # done before
        return

    def copy_when_idle(there: Any, array: Any) -> None:
        there.sycl_queue.wait()
        copy(there, array)

    copying._copy_from_numpy_into = copy_when_idle
