"""A stand-in for ``cupy.cuda.nccl``. The ranks are threads of one process (`ranks`)."""

import ctypes
import threading

import numpy as np

TYPES = {7: ctypes.c_float, 8: ctypes.c_double}


class NCCL:
    """The module, for ranks with the given fake GPUs. `sums` counts the sums over all ranks."""

    available = True
    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = *TYPES, 0

    def __init__(self, devices):
        self.devices, self.slots, self.sums = devices, [None] * len(devices), 0
        self.barrier = threading.Barrier(len(devices), timeout=600)

    def get_unique_id(self):
        return "key"

    def NcclCommunicator(self, ndev, commId, rank):
        assert (ndev, commId) == (len(self.slots), "key")
        return Communicator(self, rank)


class Communicator:
    def __init__(self, nccl, rank):
        self.nccl, self.rank = nccl, rank

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        """Sum the arrays in the order of the ranks, so that all ranks get the same result."""
        device = self.nccl.devices[self.rank]
        assert (op, stream) == (NCCL.NCCL_SUM, device.stream.ptr)
        sent, received = (
            np.ctypeslib.as_array((TYPES[datatype] * count).from_address(place))
            for place in (sendbuf, recvbuf)
        )

        def add():
            self.nccl.slots[self.rank] = sent
            if self.nccl.barrier.wait() == 0 and device.capture is None:
                self.nccl.sums += 1
            received[...] = np.sum(self.nccl.slots, axis=0)
            self.nccl.barrier.wait()

        device.write(received, add, "all-reduce")
