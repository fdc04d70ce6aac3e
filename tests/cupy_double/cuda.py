"""The parts of ``cupy.cuda`` that minichar uses."""

from types import SimpleNamespace

import numpy as np

from cupy_double.array import CUDARuntimeError, real
from cupy_double.device import CAPTURE_INVALIDATED, CAPTURE_ISOLATION, Capture

INSUFFICIENT_DRIVER, INVALID_DEVICE = 35, 101  # CUDA's error codes


class Known:
    """Part of CuPy's namespace, limited to names that exist in CuPy."""

    def __init__(self, device, there):
        self._device, self._there = device, there
        for name in (name for name in vars(type(self)) if not name.startswith("_")):
            getattr(there, name)  # raises AttributeError if CuPy lacks it

    def __getattr__(self, name):
        getattr(self._there, name)
        raise NotImplementedError(f"the test double does not implement {name}")


class Runtime(Known):
    CUDARuntimeError = CUDARuntimeError

    def _answer(self, value):
        if self._device.error is not None:
            raise CUDARuntimeError(self._device.error)
        return value

    def getDeviceCount(self):
        return self._answer(self._device.count)

    def getDeviceProperties(self, device):
        if not 0 <= device < self._device.count:
            raise CUDARuntimeError(INVALID_DEVICE)
        return self._answer({"name": b"Double", "totalGlobalMem": 8_000_000_000})

    def driverGetVersion(self):
        return 0 if self._device.error == INSUFFICIENT_DRIVER else 12080

    def runtimeGetVersion(self):
        return real.cuda.runtime.runtimeGetVersion()


class Cuda(Known):
    def __init__(self, device):
        super().__init__(device, real.cuda)
        self.runtime = Runtime(device, real.cuda.runtime)
        device.streams.append(Stream(device, 0))  # the default stream

    def Device(self, device=None):
        return DeviceHandle(self._device, device)

    def Stream(self, null=False, non_blocking=False, ptds=False, priority=None):
        return Stream(self._device, non_blocking=non_blocking)

    def get_current_stream(self, device_id=-1):
        return self._device.stream

    def Event(self, block=False, disable_timing=False, interprocess=False):
        return Event(self._device, disable_timing)

    def alloc(self, size):
        self._device.allocate(size)
        memory = np.empty(size, "uint8")
        return SimpleNamespace(ptr=memory.__array_interface__["data"][0], memory=memory)

    def Memory(self, size):
        return SimpleNamespace(ptr=self.alloc(size).ptr, size=size)

    def MemoryPool(self, allocator=None):
        return MemoryPool(self._device)

    def using_allocator(self, allocator=None):
        return UsingAllocator(self._device, allocator)


class DeviceHandle(Known):
    def __init__(self, device, index):
        super().__init__(device, real.cuda.Device)
        self._index = index

    def use(self):
        if not 0 <= self._index < self._device.count:
            raise CUDARuntimeError(INVALID_DEVICE)
        self._device.used = self._index

    @property
    def compute_capability(self):
        return self._device.capability

    @property
    def pci_bus_id(self):
        return f"{self._device.bus}:0{self._index}"


class Event(Known):
    def __init__(self, device, disable_timing=False):
        super().__init__(device, real.cuda.Event)
        self._capture, self._disable_timing = None, disable_timing

    def synchronize(self):
        self._device.wait("synchronize")


class Stream(Known):
    def __init__(self, device, ptr=None, non_blocking=False):
        super().__init__(device, real.cuda.Stream)
        self.ptr, self._non_blocking = id(self) if ptr is None else ptr, non_blocking

    def __enter__(self):
        self._device.streams.append(self)
        return self

    def __exit__(self, *exception):
        self._device.streams.pop()

    def synchronize(self):
        self._device.wait("synchronize")

    def record(self, event=None):
        event = event or Event(self._device)
        event._capture = self._device.capture
        return event

    def wait_event(self, event):
        if event._capture is not self._device.capture:
            raise CUDARuntimeError(CAPTURE_ISOLATION)
        if event._capture is not None:
            event._capture.streams.add(self)

    def begin_capture(self, mode=None):
        if self._device.stream is not self:
            raise RuntimeError("only the current stream can be captured")
        if not self._non_blocking:
            raise RuntimeError("work on the default stream would invalidate the capture of a blocking stream")
        self._device.wait("begin_capture")
        self._device.capture = Capture(self)

    def end_capture(self):
        capture, self._device.capture = self._device.capture, None
        capture.end()
        if not capture.valid:
            raise CUDARuntimeError(CAPTURE_INVALIDATED)
        return Graph(self._device, capture)


class Graph(Known):
    def __init__(self, device, capture):
        super().__init__(device, real.cuda.Graph)
        self._capture = capture
        self._launches = 0

    def upload(self, stream=None):
        self._device.wait("upload")

    def launch(self, stream=None):
        self._device.wait("launch")
        self._launches += 1
        for call in self._capture.calls:
            call()


class MemoryPool(Known):
    """A pool that checks who allocates memory from it. The memory itself is NumPy's."""

    def __init__(self, device):
        super().__init__(device, real.cuda.MemoryPool)
        self._streams = set()

    def malloc(self, size):
        device = self._device
        if device.capture is None or not self._streams:
            self._streams.add(device.stream)
        elif device.capture.stream not in self._streams:
            raise RuntimeError("a captured step allocated memory from the pool of another graph")

    def total_bytes(self):
        return 0

    def free_all_blocks(self):
        self._device.wait("free_all_blocks")


class UsingAllocator:
    def __init__(self, device, allocator):
        self.device, self.allocator = device, allocator

    def __enter__(self):
        self.before, self.device.allocator = self.device.allocator, self.allocator

    def __exit__(self, *exception):
        self.device.allocator = self.before
