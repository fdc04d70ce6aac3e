"""Sum arrays over the NVIDIA GPUs of multiple processes with NCCL, without copying them to the host."""

from collections.abc import Callable
from ctypes import py_object, pythonapi
from importlib import import_module
from platform import node
from types import ModuleType
from typing import Any
from warnings import catch_warnings, simplefilter, warn

from minichar.devices.backend import Array, unusable


def load_nccl() -> ModuleType:
    """Import CuPy's NCCL module, suppressing its warning if NCCL is not installed."""
    with catch_warnings():
        simplefilter("ignore")
        return import_module("cupy.cuda.nccl")


def open_nccl(cupy: ModuleType, index: int, comm: Any) -> Callable[[Array, Array], None] | None:
    """Connect the GPUs of all ranks. All ranks must call this function.

    Parameters
    ----------
    cupy : module
    index : int
        Index of this rank's GPU.
    comm : mpi4py.MPI.Comm

    Returns
    -------
    callable or None
        ``all_reduce(sent, received)`` sets `received` to the sum of `sent` over all ranks, on the current
        stream. None if NCCL is missing on any rank, or if two ranks use the same GPU, which NCCL does not
        support. Rank 0 then issues a warning with the reason.

    Raises
    ------
    MinicharError
        If NCCL fails.
    """
    nccl = load_nccl()
    gpu = (node(), cupy.cuda.Device(index).pci_bus_id)
    gpus = comm.allgather(gpu if nccl.available else None)
    why, rank = "", comm.Get_rank()
    if None in gpus:
        why = "NCCL is missing on at least one rank (pip install nvidia-nccl-cu12)"
    elif len({*gpus}) < len(gpus):
        why = "multiple ranks use the same GPU (set CUDA_VISIBLE_DEVICES to a different GPU for each)"
    if why:
        if rank == 0:
            warn(f"gradients are averaged on the host because {why}", RuntimeWarning, stacklevel=2)
        return None
    try:
        key = comm.bcast(nccl.get_unique_id() if rank == 0 else None)
        communicator = nccl.NcclCommunicator(len(gpus), key, rank)
    except Exception as error:  # for example, no usable network interface
        remedy = "set NCCL_DEBUG=INFO to see the cause"
        raise unusable(f"gpu:{index}", "NCCL cannot connect the GPUs", error, remedy) from error
    # Keep the communicator alive even at exit: destroying it would wait for all graphs that use it.
    pythonapi.Py_IncRef(py_object(communicator))

    def all_reduce(sent: Array, received: Array) -> None:
        kind, stream = getattr(nccl, f"NCCL_{sent.dtype.name.upper()}"), cupy.cuda.get_current_stream()
        communicator.allReduce(sent.data.ptr, received.data.ptr, sent.size, kind, nccl.NCCL_SUM, stream.ptr)

    return all_reduce
