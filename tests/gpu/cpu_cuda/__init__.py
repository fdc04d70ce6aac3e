"""A CUDA emulator that runs on the CPU, for running CuPy itself without a GPU (see README.md).

`install` must run before CuPy is imported, and lasts for the process.
"""

import ctypes
import os
import struct
import sys
from collections import Counter
from importlib.metadata import distributions
from math import prod
from pathlib import Path

from cpu_cuda.build import HERE, build, runtime_functions, runtime_module, version

JUMP = b"\xff\x25\x00\x00\x00\x00"
"""Machine code of a jump to the address that follows."""
PROTECTION = 7
"""``PROT_READ | PROT_WRITE | PROT_EXEC``."""
LIBRARIES = {"cublas": "libcublas.so.12", "nccl": "libnccl.so.2"}
TEXT = 1 << 16
"""Size in bytes of the text with all counts."""


def cache_folder():
    """Return the folder for everything that is compiled."""
    return Path(os.environ.get("CPU_CUDA_CACHE", HERE.parents[2] / "build" / "cpu_cuda"))


class CPUCUDA:
    """The replaced CUDA of this process.

    Attributes
    ----------
    kernels : Path
        CuPy's cache of kernels.
    """

    def __init__(self):
        libraries = cache_folder() / "libraries" / version("*.cpp", "*.h", "build.py")
        build(libraries)
        self.kernels = cache_folder() / "kernels" / version("*.h", "include/cupy/*", "compiler.py")
        self.kernels.mkdir(parents=True, exist_ok=True)
        os.environ["CUPY_CACHE_DIR"] = str(self.kernels)
        os.environ["CUPY_ACCELERATORS"] = ""  # the device code of CUB is already compiled, for GPUs
        self.cuda = ctypes.CDLL(str(libraries / "libcuda.so.1"), ctypes.RTLD_GLOBAL)
        self.cuda.cpu_cuda_used.restype = ctypes.c_long
        self.cuda.cpu_cuda_set.argtypes = [ctypes.c_char_p, ctypes.c_long]
        self._replace_runtime()
        self._replace_libraries(libraries)
        self._replace_compiler_and_sorts()

    def _replace_runtime(self):
        """Make each function of the CUDA runtime in CuPy's module jump to the one of the library."""
        import cupy_backends.cuda.api.runtime as runtime

        path, page = str(runtime_module()), os.sysconf("SC_PAGE_SIZE")
        assert runtime.__file__ == path
        lines = Path("/proc/self/maps").read_text().splitlines()
        base = min(int(line.partition("-")[0], 16) for line in lines if line.endswith(path))
        libc = ctypes.CDLL(None, use_errno=True)
        for name, offset in runtime_functions().items():
            target = ctypes.cast(getattr(self.cuda, name), ctypes.c_void_p).value
            start = (base + offset) // page * page
            if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(2 * page), PROTECTION):
                raise OSError(ctypes.get_errno(), "mprotect")
            ctypes.memmove(base + offset, JUMP + struct.pack("<Q", target), len(JUMP) + 8)

    def _replace_libraries(self, folder):
        """Make cuda.pathfinder, which CuPy and minichar ask, find the replaced libraries."""
        from cuda import pathfinder

        find = pathfinder.load_nvidia_dynamic_lib

        def load(name):
            if name not in LIBRARIES:
                return find(name)
            path = str(folder / LIBRARIES[name])
            ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
            return pathfinder.LoadedDL(path, False, 0, "cpu_cuda")

        pathfinder.load_nvidia_dynamic_lib = load

    def _replace_compiler_and_sorts(self):
        """Make CuPy compile with g++, and sort with the functions of the library."""
        import cupy
        from cupy.cuda import compiler, thrust

        from cpu_cuda.compiler import compile_using_nvrtc

        def stream():
            return ctypes.c_void_p(cupy.cuda.get_current_stream().ptr)

        def rows(dtype, shape):
            if dtype != "float64":
                raise NotImplementedError(f"cpu_cuda sorts float64 only, not {dtype}")
            return ctypes.c_size_t(prod(shape[:-1])), ctypes.c_size_t(shape[-1])

        def sort(dtype, data, keys, shape):
            self.cuda.cpu_cuda_sort(stream(), ctypes.c_void_p(data), *rows(dtype, shape))

        def argsort(dtype, order, data, keys, shape):
            pointers = map(ctypes.c_void_p, (order, data))
            self.cuda.cpu_cuda_argsort(stream(), *pointers, *rows(dtype, shape))

        compiler._compile_using_nvrtc_no_warning = compile_using_nvrtc
        thrust.sort, thrust.argsort = sort, argsort

    def set(self, **settings):
        """Change `Settings` in device.h."""
        for name, value in settings.items():
            if self.cuda.cpu_cuda_set(name.encode(), value):
                raise KeyError(name)

    def operations(self):
        """Return the operations that the host has launched since the last call, counted by kind."""
        text = ctypes.create_string_buffer(TEXT)
        self.cuda.cpu_cuda_counts(text, TEXT)
        rows = (line.split("\t") for line in text.value.decode().splitlines())
        return Counter({kind: int(number) for kind, number in rows})

    def last_graph(self):
        """Return the number of nodes of the last captured graph, and the length of its longest chain.

        In a chain, each node needs the one before it. The chain is the time that a graph takes at least.
        """
        nodes, chain = ctypes.c_long(), ctypes.c_long()
        self.cuda.cpu_cuda_graph(ctypes.byref(nodes), ctypes.byref(chain))
        return nodes.value, chain.value

    def used(self):
        """Return the number of bytes of device memory in use."""
        return self.cuda.cpu_cuda_used()


def check_requirements():
    """Raise an error unless the packages in requirements.txt are installed in exactly these versions."""
    for line in (HERE / "requirements.txt").read_text().splitlines():
        name, _, pinned = line.partition("==")
        if pinned and [found.version for found in distributions(name=name)] != [pinned]:
            raise RuntimeError(f"cpu_cuda requires {line}: pip install -r {HERE / 'requirements.txt'}")


def install():
    """Replace CUDA in this process, and return the object that controls it."""
    check_requirements()
    if "cupy" in sys.modules:
        raise RuntimeError("cpu_cuda must be installed before CuPy is imported")
    return CPUCUDA()
