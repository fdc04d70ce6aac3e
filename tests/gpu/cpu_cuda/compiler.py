"""Compile the CUDA C that CuPy generates with g++, to a shared library in place of a cubin.

CuPy caches the libraries in `CUPY_CACHE_DIR`. The sources are kept too, for `test_sources.py`.
"""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import get_ident

from cpu_cuda.build import HERE, INCLUDE

COMPILER = [
    *("g++", "-std=c++20", "-O1", "-march=native", "-fPIC", "-w", "-fpermissive"),
    "-ffp-contract=fast",  # NVRTC also contracts a * b + c
]
KERNEL = re.compile(r"__global__[^;{}]*?\b(?!__)(\w+)\s*\(")
CLUSTER = re.compile(r"__cluster_dims__\((\w+)")
DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s*)?([\w ]+?)\s+(\w+)\s*\[\s*\]\s*;")
SYNCHRONISATION = ("__syncthreads", "__syncwarp", "__cluster_barrier_wait")


class CompileError(Exception):
    """Raised if g++ cannot compile a kernel."""


def header(folder):
    """Precompile the headers that every kernel includes, and return the path of the header."""
    from cupy._core import core

    path = folder / "headers.h"
    if not path.with_suffix(".h.gch").exists():
        names = [f'"{HERE}/cuda_c.h"', *(f"<{name}>" for name in core._cupy_header_list)]
        path.write_text("#pragma once\n" + "".join(f"#include {name}\n" for name in names))
        run([*COMPILER, *include(), "-x", "c++-header", str(path)], path.with_suffix(".h.gch"), str(path))
    return path


def include():
    """Return the options for the folders of headers. CuPy's own come last."""
    from cupy._core import core

    return [
        f"-I{HERE}/include",
        *INCLUDE,
        *core._get_cccl_include_options(),
        f"-I{core._get_header_dir_path()}",
    ]


def temporary(path):
    """Return the path of a file to write and rename: other processes and threads may write the same file."""
    return path.with_suffix(f".{os.getpid()}-{get_ident()}")


def run(command, output, what):
    """Run g++."""
    written = temporary(output)
    done = subprocess.run([*command, "-o", str(written)], capture_output=True, text=True)
    if done.returncode:
        raise CompileError(f"g++ cannot compile {what}:\n{done.stderr[:3000]}")
    written.rename(output)


def library(source, options):
    """Return the contents of a shared library with the kernels of a source file."""
    names = KERNEL.findall(source)
    synchronises = str(any(word in source for word in SYNCHRONISATION)).lower()
    cluster = [*CLUSTER.findall(source), "1"][0]  # a number or a macro
    defined = [option[2:].replace("=", " ", 1) for option in options if option.startswith("-D")]
    text = "".join(f"#define {definition}\n" for definition in defined)
    text += DYNAMIC.sub(r"\1* \2 = reinterpret_cast<\1*>(shared_memory);", source)
    text += "".join(f"\nCPU_CUDA_KERNEL({name}, {synchronises}, {cluster})" for name in names)
    folder = Path(os.environ["CUPY_CACHE_DIR"])
    keep(folder / "sources", names, source, options)
    with TemporaryDirectory() as scratch:
        path, output = Path(scratch) / "kernel.cpp", Path(scratch) / "kernel.so"
        path.write_text(text)
        command = [*COMPILER, "-shared", "-include", str(header(folder)), *include(), str(path)]
        run(command, output, names)
        return output.read_bytes()


def keep(folder, names, source, options):
    """Keep the source of a kernel and its options."""
    folder.mkdir(exist_ok=True)
    content = json.dumps({"names": names, "options": [*options], "source": source})
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"
    written = temporary(path)
    written.write_text(content)
    written.rename(path)


def compile_using_nvrtc(source, options=(), arch=None, *args, **kwargs):
    """Replace the function of CuPy that returns a cubin, and the mapping of names that RawModule uses."""
    return library(source, options), None
