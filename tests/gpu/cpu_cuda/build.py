"""Build the libraries that replace CUDA. ``libcuda.so.1`` also contains the runtime.

A library also needs the functions that CuPy links to but minichar does not call. They are generated: each
prints its name and fails.
"""

import hashlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from sysconfig import get_paths

HERE = Path(__file__).resolve().parent
SITE = Path(get_paths()["purelib"])
CUPY = SITE / "cupy_backends" / "cuda"
INCLUDE = [f"-I{SITE}/nvidia/cuda_runtime/include", f"-I{SITE}/nvidia/cuda_nvcc/include", f"-I{HERE}"]
COMPILER = ["g++", "-std=c++20", "-O3", "-march=native", "-fPIC", "-w"]
LIBRARIES = {
    "libcuda.so.1": ["streams", "memory", "driver", "runtime", "sorting"],
    "libcublas.so.12": ["cublas"],
    "libnccl.so.2": ["nccl"],
}
"""The source files of each library."""
NOT_SUPPORTED = {"cuda": 801, "cublas": 15, "nccl": 5}
"""The result of the generated functions: ``cudaErrorNotSupported``, ``CUBLAS_STATUS_NOT_SUPPORTED`` and
``ncclInvalidUsage``.
"""


def runtime_module():
    """Return the path of CuPy's module with the statically linked CUDA runtime, without importing it."""
    return find_one(CUPY / "api", "runtime")


def find_one(folder, name):
    """Return the path of a compiled module."""
    (path,) = folder.glob(f"{name}.*.so")
    return path


def symbols(path, *options):
    """Yield ``(address, type, name)`` of the symbols in a library. Undefined ones have the address 0."""
    lines = subprocess.run(["nm", *options, str(path)], capture_output=True, text=True, check=True).stdout
    for line in lines.splitlines():
        *address, kind, name = line.split()
        yield int(address[0], 16) if address else 0, kind, name.partition("@")[0]


def runtime_functions():
    """Return the address of each function of CuPy's CUDA runtime within its module."""
    found = {name: at for at, kind, name in symbols(runtime_module()) if kind == "t"}
    return {name: at for name, at in found.items() if re.fullmatch(r"cuda[A-Z]\w+", name)}


def linked_functions(library):
    """Return the names of the functions of a library that CuPy's module links to."""
    undefined = symbols(find_one(CUPY / "libs", library), "-D", "--undefined-only")
    return {name for _, _, name in undefined if name.startswith(library)}


def build(folder):
    """Build the libraries in a folder, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = {
        "libcuda.so.1": set(runtime_functions()),
        "libcublas.so.12": linked_functions("cublas"),
        "libnccl.so.2": linked_functions("nccl"),
    }
    for name, sources in LIBRARIES.items():
        if not (folder / name).exists():
            build_library(folder, name, [HERE / f"{source}.cpp" for source in sources], needed[name])


def build_library(folder, name, sources, needed):
    """Build one library. CuPy looks for the symbols of cuBLAS with their version."""
    stem = name.partition(".")[0].removeprefix("lib")
    options = ["-shared", f"-Wl,-soname,{name}", "-ldl"]
    if stem != "cuda":
        options.append(str(folder / "libcuda.so.1"))
    if stem == "cublas":
        versions = folder / "cublas.map"
        versions.write_text(f"{name} {{ global: *; }};\n")
        options.append(f"-Wl,--version-script={versions}")
    objects = [compile_object(folder, source) for source in sources]
    defined = {function for path in objects for _, kind, function in symbols(path) if kind == "T"}
    stubs = folder / f"{stem}_stubs.cpp"
    status = NOT_SUPPORTED[stem]
    stubs.write_text(
        "#include <cstdio>\n"
        '#define STUB(NAME) extern "C" int NAME() { \\\n'
        f'    fprintf(stderr, "cpu_cuda lacks " #NAME "\\n"); return {status}; }}\n'
        + "".join(f"STUB({function})\n" for function in sorted(needed - defined))
    )
    objects.append(compile_object(folder, stubs))
    temporary = folder / f"{name}.tmp"
    run([*COMPILER, *map(str, objects), *options, "-o", str(temporary)])
    temporary.rename(folder / name)


def compile_object(folder, source):
    """Compile one source file, and return the path of the object file."""
    path = folder / f"{source.stem}.o"
    run([*COMPILER, *INCLUDE, "-c", str(source), "-o", str(path)])
    return path


def run(command):
    """Run the compiler. Its messages go to the standard error output."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@cache
def version(*patterns):
    """Return a name for what is compiled from the files of this folder that match the patterns.

    It also depends on the compiler, the CPU and CuPy.
    """
    native = ["g++", "-march=native", "-Q", "--help=target", "--version"]
    parts = [subprocess.run(native, capture_output=True, check=True).stdout, runtime_module().read_bytes()]
    parts += [path.read_bytes() for pattern in patterns for path in sorted(HERE.glob(pattern))]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


if __name__ == "__main__":
    build(Path(sys.argv[1]))
