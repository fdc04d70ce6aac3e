"""Run compute-sanitizer on the kernel: executed on the CPU (cpu_cuda), latency never measured on a card.

    pip install nvidia-cuda-sanitizer-api-cu12

NVIDIA's compute-sanitizer finds invalid accesses and data races of threads that run in parallel. This script
is also the program that it runs. The sizes are small, because it makes kernels many times slower.
"""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from shutil import which
from time import monotonic
from typing import Any

import gpu_checks as checks
from bench_work import Work

from minichar.devices.choose import open_backend
from minichar.devices.chunk_kernel import CLUSTERS, KERNELS

TOOLKIT = "/usr/local/cuda/bin"
TOOLS = ("memcheck", "racecheck", "synccheck")
LIMIT = 60.0
"""Time limit for each tool, in seconds."""
ERROR = 9
"""Exit status of compute-sanitizer if it has found an error."""


def sanitizer(work: Work, end: float) -> dict[str, Any]:
    """Run this script with each tool, return the last line of each, and print all lines after an error.

    A tool is stopped after `LIMIT` seconds, or when `time.monotonic` reaches `end`.
    """
    program = find() if work.on_gpu else []
    if not program:
        return {"not run": "compute-sanitizer is not installed" if work.on_gpu else "requires a GPU"}
    found: dict[str, Any] = {"passed": True}
    finished = 0
    for tool in TOOLS:
        options = ["--tool", tool, "--error-exitcode", str(ERROR)]
        command = [*program, *options, sys.executable, __file__, work.device]
        limit = max(min(LIMIT, end - monotonic()), 0.0)
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            found[tool] = f"stopped after {limit:.0f} s"
        else:
            finished += 1
            text = (done.stdout + done.stderr).strip()
            found[tool] = text.rpartition("\n")[2].lstrip("= ")
            if done.returncode:
                found["passed"] = False
                print(text)
    found["passed"] &= finished > 0
    return found


def find() -> list[str]:
    """Return the command of compute-sanitizer in a CUDA toolkit or NVIDIA's package, or an empty list."""
    if program := which("compute-sanitizer", path=os.pathsep.join([os.environ["PATH"], TOOLKIT])):
        return [program]
    package = find_spec("nvidia")
    for folder in package.submodule_search_locations if package else []:
        file = Path(folder, "cuda_sanitizer_api", "bin", "compute-sanitizer")
        if file.exists():
            file.chmod(0o755)  # the package does not mark it as executable, and has its libraries elsewhere
            return [str(file), "--injection-path", str(file.parents[1] / "lib")]
    return []


def run_kernels(device: str) -> None:
    """Compute a gradient with each cell and size of the chunk kernel."""
    backend = open_backend(device)
    backend.uses_chunk_kernel = True
    backend.xp.cuda.set_allocator(None)  # no pool, so that each array has its own memory
    work = Work(seq_length=3, batch_size=2, vocab_size=5, device=device)
    for model, H in product(KERNELS, CLUSTERS):
        _, network = checks.gradient_of(backend, replace(work, model=model, rnn_size=H))
        if not network.uses_kernel:
            raise RuntimeError(f"no kernel for {model} with {H} units")
    backend.xp.cuda.runtime.deviceSynchronize()


if __name__ == "__main__":
    run_kernels(sys.argv[1])
